#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "levin/optim/flat_optimizer.h"
#include "levin/parallel/group_memory.h"
#include "levin/parallel/state_tensor.h"

namespace levin {

/// How a parameter's first value gets into its place in a group.
using InitialValues = std::function<void(const Tensor& parameter, const Tensor& place)>;

/// The parameters of one layout group in one flat buffer, their gradients in another, and this rank's part of the optimizer state.
/// Parameters are views of the buffer; after a backward their .grad are views of the gradient buffer. Where parameters are sharded, the
/// buffer has memory between gather and release only; where gradients are, theirs ends with each reduction.
class FlatGroup {
 public:
  struct Setup {
    GroupRanks ranks;
    Lifetimes lifetimes;
    std::optional<TransferDtype> reduce_dtype;
    bool offload_optimizer = false;  ///< its state and the update are in host memory
    std::string name;                ///< of its unit, for errors
    int subject = 0;                 ///< its number among what collectives may be about
    MemoryMeter* meter = nullptr;
    const std::vector<std::string>* parameter_names = nullptr;  ///< by the layout's indices, for errors
  };
  /// Moves the model's parameters (`tensors`, in the order of the layout's indices) into `memory`. Collective; the values are rank 0's, or
  /// come from `values`.
  FlatGroup(GroupLayout layout, GroupMemory memory, const std::vector<Tensor>& tensors, Setup setup, const InitialValues& values = {});

  const GroupLayout& layout() const noexcept { return layout_; }
  const std::string& name() const noexcept { return setup_.name; }
  /// What this rank updates.
  Range owned() const noexcept { return owned_; }
  bool trained() const noexcept { return layout_.trained; }
  bool parameters_sharded() const noexcept { return setup_.lifetimes.parameters == Hold::sharded; }
  bool gradients_sharded() const noexcept { return trained() && setup_.lifetimes.gradients == Hold::sharded; }

  /// Where parameters are sharded: their parts are on the way from all ranks. In the same order on all ranks.
  void start_gather();
  /// The parameters can be read. UsageError that names the unit where other ranks gather another one.
  void gather();
  /// Forgets what was gathered.
  void release();
  bool gathered() const noexcept { return memory_.gathered.filled(); }
  /// What was written into the gathered parameters becomes this rank's part.
  void keep_part();
  /// This rank's part was written: a copy of it in host memory follows.
  void part_changed();

  /// Gives the owned part of each segment its optimizer state.
  void make_optimizer_state(const FlatOptimizer& optimizer);
  /// Around the update of the slices.
  void begin_update();
  void end_update();
  /// The next backward's gradients are the first of a step. Until then .grad is undefined, as after torch's zero_grad: the first gradient
  /// is moved into the buffer, which saves writing zeros and adding to them.
  void zero_grad();
  /// After a backward: what .grad holds is in the buffer, and .grad is its view again, whatever autograd or user code put there. A
  /// UsageError where a parameter left its buffer. `absent` gets those (by the layout's indices) without a gradient for the first time.
  void settle(const std::vector<std::string>& names, std::vector<size_t>* absent = nullptr);
  /// False where there was no gradient. UsageError for a sparse one.
  bool settle(size_t member);
  /// Sharded gradients were reduced in this backward, or wait for nothing.
  bool settled() const noexcept { return gradients_sharded() && reduced_; }
  /// A backward begins whose sharded gradients are to be reduced, too.
  void begin_backward() noexcept { reduced_ = false; }
  /// Where it may start early: this rank's gradients are complete, and their sum may be on its way. In the same order on all ranks, as
  /// reduce.
  void start_reduce();
  /// Of sharded gradients: the sum is in this rank's part, and the whole is forgotten.
  void finish_reduce();
  bool reducing() const noexcept { return reduction_.has_value(); }
  /// This rank's gradients times `factor`, before their reduction.
  void scale_gradients(double factor);
  /// The mean gradient of the owned part becomes readable in mean(): the sum over ranks times `factor`. All ranks' gradients must be
  /// complete, and peers may read them until the next barrier.
  void reduce(double factor);
  /// What the owners have updated goes to those that hold a whole copy.
  Work share_parameters();
  /// [owned().size()]
  const Tensor& mean() const noexcept { return mean_; }

  struct Slice {
    Segment segment;  ///< its range lies in owned()
    Tensor parameters, gradients;
    OptimizerState state;
  };
  std::vector<Slice>& slices() noexcept { return slices_; }
  const std::vector<Slice>& slices() const noexcept { return slices_; }
  /// What this rank's part of saving or loading is, of the parameters and, where they are trained, of the optimizer's state.
  Range parameters_for(StateUse use) const;
  Range optimizer_state_for(StateUse use) const;
  /// The values themselves of a part of what parameters_for gives.
  Tensor values(Range part) const;
  /// The parameters, in the layout's order.
  const std::vector<Tensor>& members() const noexcept { return members_; }

 private:
  void adopt_values(const std::vector<Tensor>& tensors, const InitialValues& values);
  void adopt_gradients();
  void make_room_for_gradients();
  Range saved_part() const;
  Tensor part_of_parameters() const;

  GroupLayout layout_;
  Setup setup_;
  Range owned_;
  GroupMemory memory_;
  Tensor mean_;
  std::optional<Work> reduction_, gather_;  // under way
  Tensor sent_, received_;                  // by them, in other dtypes
  Tensor host_part_, host_mean_;            // what is updated, where that is offloaded from a device
  bool accumulated_ = false;                // sharded gradients of earlier backwards are in mean_
  bool reduced_ = false;                    // in this backward
  std::vector<Tensor> peer_parts_;          // the owned part of every rank's gradients, in rank order
  std::vector<Tensor> members_, member_gradients_;
  std::vector<const void*> homes_;  // each member's storage
  std::vector<bool> was_absent_;    // by member
  std::vector<Slice> slices_;
};

}  // namespace levin
