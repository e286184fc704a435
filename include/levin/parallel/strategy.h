#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/log.h"
#include "levin/nn/activation_checkpointing_kind.h"
#include "levin/nn/build_context.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/flat_group.h"
#include "levin/parallel/group_optimizer.h"
#include "levin/parallel/step_totals.h"
#include "levin/parallel/strategy_config.h"

namespace torch::nn {
class Module;
}

namespace levin {

/// The parallel engine: one class, whose lifetimes make it single, ddp, zero1, zero2, fsdp or hsdp. The calls of a step, in order and on
/// all ranks: backward (any number of times), meet, reduce, [grad_norm, clip_*], update, zero_grad. `optimizer` is an index into what setup
/// was given.
class Strategy {
 public:
  ~Strategy();
  /// Decides on the form (ConfigError as of choose_form); of `auto`, setup may decide anew. `free_memory`: available_memory. Collective.
  static std::unique_ptr<Strategy> create(const StrategyConfig& config, Communicator& communicator, int64_t alignment_bytes = 64,
                                          Log log = {}, int64_t (*free_memory)() = nullptr);

  std::string describe() const { return form_.describe(); }
  const Form& form() const noexcept { return form_; }
  const Lifetimes& lifetimes() const noexcept { return form_.lifetimes; }
  const MemoryMeter& memory() const noexcept { return meter_; }

  /// A build context, which notes a model's units. Where parameters are sharded, a finished unit's are cut at once, floating-point ones in
  /// `dtype`, and parked: its tensors have no memory until setup.
  std::unique_ptr<BuildContext> open_build_context(std::optional<at::ScalarType> dtype = {});
  bool parked(const Tensor& parameter) const;
  /// Moves the module's parameters (on all ranks of the same names, shapes and dtypes: checked) into flat groups. Collective. A custom
  /// optimizer takes ddp's private form; ConfigError where its state was to be shared or sharded. Without optimizers there are gradients
  /// and no updates. ConfigError where a node has too little memory by plan, before any is taken: `auto` takes the first of
  /// planned_strategies() that fits. UsageError where of several optimizers not just one trains a parameter.
  void setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers);
  /// The outermost units of the module that was set up keep so much of their forward.
  void checkpoint_activations(ActivationCheckpointing kind);
  /// Whether the last setup was this module's, and its parameters are still the same tensors.
  bool holds(const torch::nn::Module& module) const;

  /// Until it is called with null, the parameters of other optimizers than this one require no gradient, and backward is for it alone.
  void toggle(std::optional<size_t> optimizer);
  /// Gradients are accumulated times this, on all ranks alike, and divided by it in reduce; those that are there are brought to it.
  void scale_gradients(double scale);
  double gradient_scale() const noexcept { return gradient_scale_; }
  /// Accumulates the gradients of weight * loss; `loss` is the mean over the micro-batch. Local. UsageError for a loss that has not one
  /// element, or depends on no parameter; where a parameter was replaced by another tensor. A parameter that takes no part has a gradient
  /// of zeros, and is updated with it; rank 0 warns once where it took part before.
  void backward(const Tensor& loss, double weight);
  /// The next backward is the last of this optimizer's step: between hosts and devices, reductions start while it runs. All ranks say so,
  /// or none. Sharded gradients are reduced in every backward, unless that is switched off: then all ranks make as many.
  void expect_step(size_t optimizer = 0);
  /// All ranks' gradients are complete after it. Sums the weights of the backward calls since the optimizer's last step. UsageError
  /// where another rank meets for another optimizer.
  StepTotals meet(uint32_t signals, size_t optimizer = 0);
  /// Every rank's signals, or-ed, outside of a step. Collective.
  uint32_t agree(uint32_t signals);
  /// Makes the mean gradient readable. A total weight of 0 is a UsageError: such a step is skipped.
  void reduce(const StepTotals& totals, size_t optimizer = 0, Accumulation accumulation = Accumulation::mean);
  /// Norm of the whole mean gradient. Collective.
  double grad_norm(size_t optimizer = 0);
  void clip_by_norm(double total_norm, double max_norm, size_t optimizer = 0) { optimizers_[optimizer].clip_by_norm(total_norm, max_norm); }
  void clip_by_value(double limit, size_t optimizer = 0) { optimizers_[optimizer].clip_by_value(limit); }
  /// One optimizer step; `schedule` maps a segment's base learning rate to today's. All ranks see the new parameters after it.
  void update(const std::function<double(double)>& schedule, size_t optimizer = 0);
  /// Forgets gradients, and the weights of the backward calls that made them. Collective after a reduce without an update.
  void zero_grad(size_t optimizer = 0);

  /// Collective: calls fn(name, whole tensor) once per copy of a parameter, then meets the others. The only way to write parameters.
  /// Where a node shares one copy, only its first rank calls fn. What fn throws is rethrown on its rank, and a UsageError on the others.
  void write_parameters(const std::function<void(const std::string&, Tensor&)>& fn);
  /// Collective: calls fn(name, whole tensor) on every rank for each parameter, unit by unit in the same order, then meets the others.
  /// Between steps, not inside a forward or backward. The tensor is valid during the call alone: fn copies what it keeps, and writes
  /// nothing. Where parameters are sharded, one unit at a time is whole. What fn throws is handled as by write_parameters.
  void read_parameters(const std::function<void(const std::string&, const Tensor&)>& fn);
  /// Local: this rank's slices of the parameters, which it updates; those of all ranks (of hsdp: of a group's) cover every parameter,
  /// those of a private copy each. Views [n] of the values, valid until the next setup; write through write_parameters alone.
  std::vector<ParameterSlice> parameter_slices() const;
  /// Collective, between reduce and update: this rank's slices of the optimizer's mean gradient.
  std::vector<GradientSlice> gradients(size_t optimizer = 0) { return optimizers_[optimizer].gradients(); }
  /// Collective: rank 0's buffers (BatchNorm statistics) become everybody's. UsageError on all ranks where they differ in names, shapes or
  /// dtypes. Buffers are looked up by name: what training assigns anew to a registered buffer counts.
  void broadcast_buffers();
  /// Before a state is loaded: buffers that were registered undefined become zeros of the form that the state has for their name, or
  /// undefined again where it has none. Local.
  using BufferForm = std::pair<std::vector<int64_t>, at::ScalarType>;
  void define_buffers(const std::function<std::optional<BufferForm>(const std::string& name)>& form_of);
  /// Names of the parameters that optimizers train and that require no gradient now; toggle does not count. They stay as they are, with
  /// their optimizer's state, until they require one again.
  std::vector<std::string> frozen_parameters() const;
  /// Freezes exactly these.
  void freeze_parameters(const std::vector<std::string>& names);

  /// Parameters, buffers (rank 0's are saved) and optimizer states, in the same order on all ranks, with this rank's parts of them.
  std::vector<StateTensor> state(StateUse use, bool weights_only = false) const;
  int64_t optimizer_steps(size_t optimizer) const { return optimizers_[optimizer].steps(); }
  /// After the parts of a state were filled: all ranks go on with it. Collective. A number of steps for each optimizer, or none.
  void loaded(const std::vector<int64_t>& optimizer_steps);

  const std::vector<NamedParameter>& parameters() const noexcept { return parameters_; }
  double base_lr(size_t optimizer = 0) const { return optimizers_[optimizer].base_lr(); }
  /// The base options of an optimizer's segments; of one of LibTorch's, of its groups.
  std::vector<SegmentOptions> segment_options(size_t optimizer = 0) const { return optimizers_[optimizer].segment_options(); }
  /// Null unless the optimizer is one of LibTorch's.
  const TorchOptimizer* custom_optimizer(size_t optimizer = 0) const noexcept { return optimizers_[optimizer].custom(); }
  const std::vector<std::weak_ptr<UnitBase>>& units() const noexcept { return units_; }
  std::vector<FlatGroup>& groups() noexcept { return groups_; }

 private:
  class Collector;
  struct Making;
  struct Running;
  Strategy(Communicator& communicator, int64_t alignment_bytes, Log log);
  void find_ranks();
  void make_room(const torch::nn::Module& module);
  void see_to_memory(const std::vector<ParameterInfo>& infos, const std::vector<Tensor>& parameters);
  void run_units();
  void visit_units(const std::function<void(size_t parameter)>& visit, bool write);
  void visit_parameters(const std::function<void(size_t parameter)>& visit, bool write);
  std::vector<NamedParameter> buffers() const;
  std::vector<char> frozen(const std::vector<FlatGroup*>& groups) const;
  void refuse_unfrozen() const;
  void warn_of_unregistered(const Tensor& loss);
  std::vector<double> exchange(const std::vector<double>& mine);
  void publish_parameters(const std::vector<FlatGroup*>& groups);
  void look_at_absent(const std::vector<size_t>& absent, const Tensor& loss);
  [[noreturn]] void refuse_other_optimizer(size_t rank, size_t its, size_t ours) const;
  void make_groups();
  std::vector<GroupMemory> allocate(const std::vector<GroupLayout>& layout);

  Communicator* communicator_;
  int64_t alignment_bytes_;
  Log log_;
  Form form_;
  MemoryMeter meter_;
  std::unique_ptr<Making> making_;  // what groups are made of
  std::vector<OptimizerSpec> specs_;
  std::vector<NamedParameter> parameters_;
  std::vector<NamedParameter> buffers_;          // at setup, for a module that is not in a shared_ptr
  std::vector<std::string> undefined_at_setup_;  // registered buffers
  std::vector<std::weak_ptr<UnitBase>> units_;
  std::weak_ptr<torch::nn::Module> module_;
  std::vector<FlatGroup> groups_;
  std::vector<GroupOptimizer> optimizers_;  // one at least
  std::unique_ptr<Running> running_;        // what runs units and reductions
  std::vector<Tensor> toggled_off_;         // require no gradient because of toggle
  std::optional<size_t> toggled_;           // alone takes part in backward
  double unit_ = 1, gradient_scale_ = 1;    // gradients are accumulated times weight / unit * scale
  bool backward_done_ = false, warned_of_absent_ = false;
  std::vector<char> searched_;  // by optimizer: its first loss, for tensors that no module registers
};

}  // namespace levin
