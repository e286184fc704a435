#pragma once
#include <functional>
#include <string>
#include <vector>

#include "group_factory.h"
#include "levin/optim/flat_optimizer.h"
#include "levin/parallel/named_parameter.h"
#include "levin/parallel/state_tensor.h"

namespace levin {

/// Writes a parameter's initial value into `target` [the parameter's shape], its elements in the group. Collective.
using InitialValues = std::function<void(const Tensor& parameter, const Tensor& target)>;

/// The parameters of one layout group: a ParameterStore, a GradientReducer, and this rank's shard of the optimizer state. The model's
/// parameters become views of the store's whole; after a backward their .grad are views of the reducer's gradients. Calls are local unless
/// marked collective.
class FlatGroup {
 public:
  struct Options {
    GroupCommunicators communicators;
    bool offload_optimizer = false;                           ///< optimizer state and update in host memory
    MemoryMeter* meter = nullptr;                             ///< charged with optimizer state
    const std::vector<NamedParameter>* parameters = nullptr;  ///< by the layout's parameter indices, for errors; outlive the group
  };
  /// Moves the model's parameters (`tensors`, by the layout's parameter indices) into `storage`. The values are rank 0's, or come from
  /// `values`. Collective.
  FlatGroup(GroupLayout layout, GroupStorage storage, const std::vector<Tensor>& tensors, const Options& options,
            const InitialValues& values = {});

  const GroupLayout& layout() const noexcept { return layout_; }
  bool trained() const noexcept { return layout_.trained; }
  ParameterStore& store() noexcept { return *storage_.store; }
  const ParameterStore& store() const noexcept { return *storage_.store; }
  /// The elements that this rank updates.
  Range owned() const noexcept { return store().owned(); }
  /// [owned().size()], this rank's shard of the mean gradient, after average. Only of a trained group.
  const Tensor& mean() const noexcept { return storage_.reducer->mean(); }
  /// The model's parameters, in the layout's order.
  const std::vector<Tensor>& members() const noexcept { return members_; }

  // Gradients. The order of a step is StepSchedule's.

  /// Moves .grad of a member (by the layout's order) into the group's gradients and makes it a view of them; without a gradient, zeros.
  /// Returns whether there was one. UsageError for a sparse one.
  bool collect_gradient(size_t member);
  /// The same for all members. Appends to `absent` the parameters (by the layout's indices) that have no gradient for the first time.
  void collect_gradients(std::vector<size_t>* absent);
  /// UsageError, with the parameter's name of `names`, if a parameter's data were moved out of the group.
  void check_in_place(const std::vector<std::string>& names) const;
  /// See GradientReducer. start_reduce and start_sum_over_replicas are collective.
  void start_reduce() { storage_.reducer->start(); }
  void finish_reduce();
  void start_sum_over_replicas() { storage_.reducer->start_sum_over_replicas(); }
  void average_gradients(double factor, const Tensor& device_factor);
  bool reducing() const noexcept { return trained() && storage_.reducer->in_flight(); }
  /// Multiplies the gradients of the step so far, by `device_factor` [], too, if it is defined.
  void scale_gradients(double factor, const Tensor& device_factor = {});
  /// Forgets the gradients of the step. Until the next backward .grad is undefined, as after torch's zero_grad: the first gradient is moved
  /// into the buffer, which saves writing zeros and adding to them.
  void reset_gradients();

  // The optimizer.

  /// This rank's elements of one parameter group.
  struct Slice {
    ParameterGroupRange group_range;  ///< its range lies in owned()
    Tensor parameters, gradients;  ///< [group_range.range.size()] in the layout's dtype, on the device, or in host memory where offloaded
    OptimizerState state;
  };
  std::vector<Slice>& slices() noexcept { return slices_; }
  const std::vector<Slice>& slices() const noexcept { return slices_; }
  /// Of the slices of all ranks; a rank may have none. Only of a trained group.
  c10::Device update_device() const { return host_mean_.defined() ? c10::Device(c10::kCPU) : mean().device(); }
  /// Once, before the first update: allocates the state of every slice.
  void make_optimizer_state(const FlatOptimizer& optimizer);
  /// Around the update of all slices: begin_update copies an offloaded group's mean gradient to the host, end_update copies the new
  /// parameters back. Local; both do nothing for groups that are not offloaded.
  void begin_update();
  void end_update();

  // Saving, loading, writing.

  /// The elements that this rank saves or fills in, of the parameters and, where trained, of the optimizer state.
  Range parameters_for(StateUse use) const { return use == StateUse::save ? saved_ : store().load_range(); }
  Range optimizer_state_for(StateUse use) const { return use == StateUse::save ? saved_ : owned(); }
  /// After the shard was written by anything but the optimizer: refreshes the host copy of an offloaded update.
  void shard_changed();

 private:
  void adopt_parameters(const std::vector<Tensor>& tensors, const InitialValues& values);
  void adopt_gradients();
  void make_slices(bool offload);

  GroupLayout layout_;
  GroupStorage storage_;
  Range saved_;
  MemoryMeter* meter_;
  const std::vector<NamedParameter>* parameters_;
  std::vector<Tensor> members_, member_gradients_;
  std::vector<const void*> homes_;  // each member's storage
  std::vector<bool> was_absent_;    // by member
  std::vector<Slice> slices_;
  Tensor host_shard_, host_mean_;  // what is updated, where that is offloaded from a device
};

}  // namespace levin
