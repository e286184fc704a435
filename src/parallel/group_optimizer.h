#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "device_scalar.h"
#include "flat_group.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/named_parameter.h"

namespace levin {

class TorchOptimizer;

/// What gradients are accumulated times: host * device, a float64 number on the device. Undefined: 1.
struct GradientScale {
  double host = 1;
  Tensor device;
};

/// The part of a step that belongs to one optimizer: the weights of its backwards, the scale of its gradients, clipping, the update of the
/// shards of its groups, and its state. Calls are local unless marked collective. The order of a step is StepSchedule's; gradients are
/// readable between its reduce and update.
class GroupOptimizer {
 public:
  /// Allocates the optimizer state. `spec` may be null: gradients without updates. `groups`: the optimizer's, in the layout's order; they
  /// must stay where they are. `parameters`: all of the model's. `group_options`: by group_id. UsageError for rules with a custom
  /// optimizer.
  GroupOptimizer(const OptimizerSpec* spec, std::vector<FlatGroup*> groups, const std::vector<NamedParameter>& parameters,
                 const std::vector<ParameterGroupOptions>& group_options);
  GroupOptimizer(GroupOptimizer&&) noexcept;
  ~GroupOptimizer();

  /// Including groups whose parameters require no gradient.
  const std::vector<FlatGroup*>& groups() const noexcept { return groups_; }
  /// The learning rate of parameters without a rule, before any schedule; 0 without an optimizer.
  double base_lr() const;
  /// The learning rate of its spec was `before`: parameter groups with it get the new one.
  void replace_lr(double before, double lr);
  /// The options of its parameter groups, before any schedule; of one of LibTorch's, of its groups.
  std::vector<ParameterGroupOptions> parameter_group_options() const;
  /// Null unless the optimizer is one of LibTorch's.
  const TorchOptimizer* custom() const noexcept { return custom_.get(); }

  /// After a backward whose loss counted for `weight` samples.
  void count(double weight) noexcept { weight_ += weight, backwards_++; }
  /// Sum of the weights, and number, of the backwards since the last step.
  double weight() const noexcept { return weight_; }
  int64_t backwards() const noexcept { return backwards_; }
  void forget_weights() noexcept { weight_ = 0, backwards_ = 0, gradient_scale_ = next_gradient_scale_; }
  /// Gradients are accumulated times `scale`; those accumulated so far are rescaled. Where a reduction is in flight it applies from the
  /// next step on. See Strategy::scale_gradients.
  void scale_gradients(const GradientScale& scale);
  const GradientScale& gradient_scale() const noexcept { return gradient_scale_; }
  bool reducing() const;

  /// By parameter, those that stay as they are until the next call, with their optimizer state: update leaves them out, and does not count
  /// for them. Empty: none. The same on all ranks.
  void freeze(std::vector<char> frozen) { frozen_ = std::move(frozen); }
  /// After the reduction: earlier micro-batches of the step may have given a frozen parameter a gradient.
  void zero_frozen_gradients();
  /// UsageError if a parameter's data left its flat group.
  void check_in_place() const;
  /// Sum of squares of this rank's mean gradients: float64 without dimensions, on their device. Its sum over a shard group is the squared
  /// norm. After reduce.
  Tensor squared_norm() const;
  /// Multiplies the mean gradients by max_norm / total_norm if total_norm exceeds max_norm. `total_norm` without dimensions, the same on
  /// all ranks. After reduce, before update.
  void clip_by_norm(const Tensor& total_norm, double max_norm);
  /// Limits every element of the mean gradients to [-limit, limit]. After reduce, before update.
  void clip_by_value(double limit);
  /// Updates this rank's shards; inside StepSchedule::update, which publishes them. `schedule` maps a base learning rate to that of this
  /// step. `sum_over_shards`, collective, adds up a float64 tensor over the ranks among whom parameters are sharded; layer-wise optimizers
  /// call it once. `skip`: see FlatOptimizer::step_unless; undefined: not skipped.
  void update(const std::function<double(double)>& schedule, const std::function<void(const Tensor&)>& sum_over_shards,
              const Tensor& skip = {});
  /// Whether update takes `skip` for slices on a device.
  bool skips_on_device() const { return !custom_; }
  /// The last update was skipped.
  void uncount_update();
  /// This rank's shard of each parameter's mean gradient; parameters without elements here are left out.
  std::vector<GradientSlice> gradients() const;

  /// Appends the optimizer state: tensors of the parameters' shapes, in the same order on all ranks, with this rank's parts. Their names
  /// begin with `prefix`.
  void add_state(StateUse use, const std::string& prefix, const std::vector<NamedParameter>& parameters,
                 std::vector<StateTensor>& all) const;
  /// Number of updates so far.
  int64_t steps() const;
  /// By parameter, how many of them it missed because it was frozen. Empty: none.
  const std::vector<int64_t>& missed_updates() const noexcept { return missed_; }
  /// After the state was loaded: both.
  void set_steps(int64_t steps, std::vector<int64_t> missed_updates);

 private:
  bool freezes(int parameter) const { return !frozen_.empty() && frozen_[static_cast<size_t>(parameter)] != 0; }
  int64_t missed(int parameter) const { return missed_.empty() ? 0 : missed_[static_cast<size_t>(parameter)]; }
  bool differ(const FlatGroup& group, Range range) const;
  c10::Device update_device() const;
  std::vector<FlatGroup::Slice> trained_parts(const FlatGroup& group, const FlatGroup::Slice& slice) const;
  void step_custom(const std::function<double(double)>& schedule);
  void count_update();
  Tensor device_lr(const FlatGroup::Slice& slice, double lr);

  const OptimizerSpec* spec_;
  std::unique_ptr<FlatOptimizer> optimizer_;
  std::unique_ptr<TorchOptimizer> custom_;  // in place of optimizer_
  std::vector<FlatGroup*> groups_, trained_;
  std::vector<ParameterGroupOptions> group_options_;
  std::vector<std::string> names_;       // of all parameters
  std::vector<char> frozen_, left_out_;  // by parameter; empty: none. left_out_: of the last update
  std::vector<int64_t> missed_;
  int64_t custom_updates_ = 0;
  std::map<double, DeviceScalar> device_lrs_;  // of slices on a device, by the learning rate before the schedule
  double weight_ = 0;
  int64_t backwards_ = 0;
  GradientScale gradient_scale_, next_gradient_scale_;
};

}  // namespace levin
