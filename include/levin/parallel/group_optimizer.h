#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/flat_group.h"

namespace levin {

class TorchOptimizer;

/// A named parameter; the tensor is the one that the model holds.
struct NamedParameter {
  std::string name;
  Tensor tensor;
};

/// This rank's part of a parameter's mean gradient: elements [offset, offset + slice.numel()) of the flattened parameter.
struct GradientSlice {
  std::string name;
  Tensor slice;
  int64_t offset = 0;
};

/// This rank's part of a parameter: elements [offset, offset + slice.numel()) of the flattened parameter.
struct ParameterSlice {
  std::string name;
  Tensor slice;
  int64_t offset = 0;
};

/// One optimizer and the flat groups that it trains: the parts of a step that are its own. Local but for what is said.
class GroupOptimizer {
 public:
  /// `spec` may be null: gradients, and nothing that uses them. `groups` are in the order of the layout and must stay where they are;
  /// `parameters` are all of the model's, `options` what their segments refer to. UsageError for rules with a custom optimizer.
  GroupOptimizer(const OptimizerSpec* spec, std::vector<FlatGroup*> groups, const std::vector<NamedParameter>& parameters,
                 const std::vector<SegmentOptions>& options);
  GroupOptimizer(GroupOptimizer&&) noexcept;
  ~GroupOptimizer();

  const std::vector<FlatGroup*>& groups() const noexcept { return groups_; }
  /// The learning rate of parameters without a rule, before any schedule.
  double base_lr() const;
  /// The base options of its segments, in the order of the layout's options; of one of LibTorch's, of its groups.
  std::vector<SegmentOptions> segment_options() const;
  /// Null unless the optimizer is one of LibTorch's.
  const TorchOptimizer* custom() const noexcept { return custom_.get(); }

  /// See Strategy::backward: weights and number of the backward calls since the last step.
  void count(double weight) noexcept { weight_ += weight, backwards_++; }
  double weight() const noexcept { return weight_; }
  int64_t backwards() const noexcept { return backwards_; }
  void forget_weights() noexcept { weight_ = 0, backwards_ = 0, gradient_scale_ = next_gradient_scale_; }
  /// See Strategy::scale_gradients. Where a reduction is under way, its gradients stay as they are, with the scale that they have.
  void scale_gradients(double scale);
  double gradient_scale() const noexcept { return gradient_scale_; }

  /// The parameters, by their index, that stay as they are until the next call, with their optimizer's state: reduce leaves their mean
  /// gradient zero, and update leaves them out. The same on all ranks.
  void freeze(std::vector<char> frozen) { frozen_ = std::move(frozen); }
  /// Gradients are in their buffers; see FlatGroup::settle.
  void settle(std::vector<size_t>* absent = nullptr);
  /// Collective where groups are reduced between ranks.
  void start_reduce();
  void reduce(double factor);
  double squared_norm() const;
  void clip_by_norm(double total_norm, double max_norm);
  void clip_by_value(double limit);
  /// `schedule` maps a base learning rate to today's; `sum_over_parts` adds up numbers over the ranks among whom a parameter is cut.
  void update(const std::function<double(double)>& schedule, const std::function<void(const Tensor&)>& sum_over_parts);
  void zero_grad();
  std::vector<GradientSlice> gradients() const;

  /// Adds what the optimizer remembers of its parameters: whole tensors, the same on all ranks, with this rank's parts. `prefix` comes
  /// before their names.
  void add_state(StateUse use, const std::string& prefix, const std::vector<NamedParameter>& parameters,
                 std::vector<StateTensor>& all) const;
  /// How many updates there were so far, and will have been.
  int64_t steps() const;
  void set_steps(int64_t steps);

  bool read_by_peers = false;  ///< since the reduction, until all ranks have met again: the rank's gradients must stay as they are

 private:
  bool freezes(int parameter) const { return !frozen_.empty() && frozen_[static_cast<size_t>(parameter)] != 0; }
  std::vector<FlatGroup::Slice> trained_parts(const FlatGroup& group, const FlatGroup::Slice& slice) const;
  void step_custom(const std::function<double(double)>& schedule);

  const OptimizerSpec* spec_;
  std::unique_ptr<FlatOptimizer> optimizer_;
  std::unique_ptr<TorchOptimizer> custom_;  // in place of optimizer_
  std::vector<FlatGroup*> groups_, trained_;
  std::vector<SegmentOptions> options_;
  std::vector<std::string> names_;  // of all parameters
  std::vector<char> frozen_;        // by parameter; empty: none
  double weight_ = 0;
  int64_t backwards_ = 0;
  double gradient_scale_ = 1, next_gradient_scale_ = 1;
};

}  // namespace levin
