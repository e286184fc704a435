#pragma once
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "levin/core/log.h"
#include "levin/nn/build_context.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/flat_group.h"
#include "levin/parallel/strategy_config.h"

namespace levin {

class Communicator;
class TorchOptimizer;

/// What all ranks together bring to a step.
struct StepTotals {
  double weight = 0;     ///< of all ranks and micro-batches
  uint32_t signals = 0;  ///< every rank's signals, or-ed
};

/// This rank's part of a parameter's mean gradient: elements [offset, offset + slice.numel()) of the flattened parameter.
struct GradientSlice {
  std::string name;
  Tensor slice;
  int64_t offset = 0;
};

/// A named parameter; the tensor is the one that the model holds.
struct NamedParameter {
  std::string name;
  Tensor tensor;
};

namespace detail {
class Overlap;
}

/// The parallel engine: one class, whose lifetimes make it single or ddp. The calls of a step, in order and on all ranks:
/// backward (any number of times), meet, reduce, [grad_norm, clip_*], update, zero_grad.
class Strategy {
 public:
  ~Strategy();
  /// Decides on the form: the lifetimes, and whether a node shares memory. Collective.
  static std::unique_ptr<Strategy> create(const StrategyConfig& config, Communicator& communicator, int64_t alignment_bytes = 64,
                                          Log log = {});

  /// "ddp, one copy of the parameters a node", for people.
  const std::string& describe() const noexcept { return description_; }
  const Lifetimes& lifetimes() const noexcept { return lifetimes_; }

  /// Opens a build context, in which the units of a model are noted.
  std::unique_ptr<BuildContext> open_build_context();
  /// Moves the module's parameters (on all ranks of the same names, shapes and dtypes: checked) into flat groups. Collective. A custom
  /// optimizer takes the private form; ConfigError where one copy a node was asked for.
  void setup(torch::nn::Module& module, const OptimizerSpec* spec);
  /// Whether the last setup was this module's, and its parameters are still the same tensors.
  bool holds(const torch::nn::Module& module) const;

  /// Accumulates the gradients of weight * loss; `loss` is the mean over the micro-batch. Local. UsageError for a loss that has not one
  /// element, or depends on no parameter. A parameter that takes no part has a gradient of zeros, and is updated with it.
  void backward(const Tensor& loss, double weight);
  /// The next backward is the last of its step: between hosts, reductions start while it runs. All ranks say so, or none.
  void expect_step();
  /// All ranks' gradients are complete after it. Sums the weights of the backward calls since the last step.
  StepTotals meet(uint32_t signals);
  /// Makes the mean gradient readable. A total weight of 0 is a UsageError: such a step is skipped.
  void reduce(const StepTotals& totals);
  /// Norm of the whole mean gradient. Collective.
  double grad_norm();
  void clip_by_norm(double total_norm, double max_norm);
  void clip_by_value(double limit);
  /// One optimizer step; `schedule` maps a segment's base learning rate to today's. All ranks see the new parameters after it.
  void update(const std::function<double(double)>& schedule);
  void zero_grad();
  /// Forgets the weights and gradients of an abandoned step.
  void drop_step();

  /// Collective: calls fn(name, whole tensor) once per copy of a parameter, then meets the others. The only way to write parameters.
  /// Where a node shares one copy, only its first rank calls fn. What fn throws is rethrown on its rank, and a UsageError on the others.
  void write_parameters(const std::function<void(const std::string&, Tensor&)>& fn);
  /// Collective, between reduce and update: this rank's slices of the mean gradient.
  std::vector<GradientSlice> gradients();
  /// Collective: rank 0's buffers (BatchNorm statistics) become everybody's.
  void broadcast_buffers();

  const std::vector<NamedParameter>& parameters() const noexcept { return parameters_; }
  const std::vector<SegmentOptions>& segment_options() const noexcept { return options_; }
  /// Null unless the optimizer is one of LibTorch's.
  const TorchOptimizer* custom_optimizer() const noexcept { return custom_.get(); }
  /// Units in the order of building.
  const std::vector<std::weak_ptr<UnitBase>>& units() const noexcept { return units_; }
  std::vector<FlatGroup>& groups() noexcept { return groups_; }

 private:
  class Collector;
  Strategy(Communicator& communicator, int64_t alignment_bytes, Log log);
  bool on_several_hosts() const noexcept;
  std::vector<double> exchange(const std::vector<double>& mine);
  void publish_parameters();
  void check_same_model();
  void take_private_form();
  void make_custom_optimizer(const OptimizerSpec& spec);
  std::vector<GroupMemory> allocate(const std::vector<GroupLayout>& layout);

  Communicator* communicator_;
  int64_t alignment_bytes_;
  Log log_;
  ShareParameters share_ = ShareParameters::automatic;
  Lifetimes lifetimes_;
  std::string description_;
  std::unique_ptr<FlatOptimizer> optimizer_;
  std::unique_ptr<TorchOptimizer> custom_;  // in place of optimizer_
  std::vector<SegmentOptions> options_;
  std::vector<NamedParameter> parameters_;
  std::vector<std::string> names_;
  std::vector<Tensor> buffers_;
  std::vector<std::weak_ptr<UnitBase>> units_;
  std::vector<FlatGroup> groups_;
  std::unique_ptr<detail::Overlap> overlap_;  // between hosts
  double weight_ = 0;                         // of this rank's backward calls since the last step
  double unit_ = 1;                           // gradients are accumulated times weight / unit
};

}  // namespace levin
