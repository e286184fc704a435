#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/log.h"
#include "levin/nn/activation_checkpointing_kind.h"
#include "levin/nn/build_context.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/allocation_request.h"
#include "levin/parallel/memory_meter.h"
#include "levin/parallel/named_parameter.h"
#include "levin/parallel/sharding_plan.h"
#include "levin/parallel/state_tensor.h"
#include "levin/parallel/step_totals.h"

namespace torch::nn {
class Module;
}

namespace levin {

class Communicator;
class Mesh;
class TorchOptimizer;
class UnitBase;

/// The parallel engine: one class, whose ShardingPlan makes it single_device, ddp, zero1, zero2, fsdp or hsdp. The calls of a step, in this
/// order and on all ranks: [expect_step,] backward, once or more; synchronize_step; reduce; [grad_norm, clip_*, gradients]; update;
/// zero_grad. `optimizer` is an index into those of setup.
class Strategy {
 public:
  ~Strategy();
  /// Resolves `config` for the communicator's ranks; ConfigError as of resolve_strategy. `alignment_bytes` of every parameter. `check`
  /// checks memory in setup, on CPUs; null: no check. `autocast_dtype`: of a mixed precision, in which units' matrices are then unsharded
  /// (ShardingPlan::matrix_dtype). Collective.
  static std::unique_ptr<Strategy> create(const StrategyConfig& config, Communicator& communicator, int64_t alignment_bytes = 64,
                                          Log log = {}, MemoryCheck check = {}, std::optional<c10::ScalarType> autocast_dtype = {});
  /// The same on a mesh, which outlives the strategy: gradients and weights are summed over mesh.loss(), signals over all ranks.
  static std::unique_ptr<Strategy> create(const StrategyConfig& config, Mesh& mesh, int64_t alignment_bytes = 64, Log log = {},
                                          MemoryCheck check = {}, std::optional<c10::ScalarType> autocast_dtype = {});

  std::string describe() const { return plan().describe(); }
  /// setup may change it: `auto`, a custom optimizer, or too little shared memory.
  const ShardingPlan& plan() const noexcept;
  /// Bytes of parameters, gradients and optimizer state on this rank.
  const MemoryMeter& memory() const noexcept;
  /// Of its parameters.
  c10::Device device() const noexcept;

  /// Notes the units of a model that is built while the context is open. Where parameters are sharded, a finished unit is sharded at once,
  /// its floating-point shards in `dtype`, and its tensors have no memory until setup (deferred).
  std::unique_ptr<BuildContext> open_build_context(std::optional<c10::ScalarType> dtype = {});
  bool deferred(const Tensor& parameter) const;
  /// Moves the module's parameters into flat groups; their values become rank 0's, and so do those of its buffers. Without optimizers there
  /// are gradients and no updates. Collective. UsageError where ranks have different names, shapes or dtypes, where not exactly one of
  /// several optimizers trains a parameter, for complex tensors, names with a slash and embeddings with sparse gradients; ConfigError where
  /// the memory check fails, a pattern matches no parameter, or a custom optimizer would need sharded or offloaded state; IoError where
  /// shared memory that share_parameters requires has no room.
  void setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers);
  /// For the outermost units of the module that was set up, from their next forward on.
  void checkpoint_activations(ActivationCheckpointing kind);
  /// Whether the last setup was of this module, and its parameters are still the same tensors.
  bool holds(const torch::nn::Module& module) const;

  /// Until it is called with null, the parameters of other optimizers require no gradient, and backward is for this one alone.
  void toggle(std::optional<size_t> optimizer);
  /// Gradients are accumulated times `scale`, on all ranks alike, and divided by it in reduce. Gradients accumulated so far are rescaled.
  /// `on_device`: a further factor, float64 without dimensions on the gradients' device, which the host does not read; do not write to it
  /// afterwards.
  void scale_gradients(double scale, const Tensor& on_device = {});
  /// Without the factor on the device.
  double gradient_scale() const noexcept;
  /// The next backward is the last of this optimizer's step: between hosts and devices, reductions overlap it. On all ranks or none. Where
  /// it is the last of several optimizers' steps, one call for each.
  /// Sharded gradients are reduced in every backward anyway, so all ranks make equally many, unless reduce_every_backward is off.
  void expect_step(size_t optimizer = 0);
  /// Accumulates the gradients of weight * loss; `loss` has one element, the mean over the micro-batch of `weight` samples. Collective
  /// where reductions or all-gathers happen in it, else local. A parameter that takes no part gets a gradient of zeros; rank 0 warns once
  /// where it took part before. UsageError for a loss that is undefined, has not one element, or depends on no parameter; for a parameter
  /// that was replaced by another tensor; and after the backward that expect_step announced.
  void backward(const Tensor& loss, double weight);
  /// Sums the weights of all backwards since the optimizer's last step, and or-s the ranks' signals; all gradients are complete after it.
  /// Collective. UsageError if another rank calls it for another optimizer, or froze other parameters.
  StepTotals synchronize_step(uint32_t signals, size_t optimizer = 0);
  /// Every rank's signals, or-ed, outside of a step. Collective.
  uint32_t combine_signals(uint32_t signals);
  /// After synchronize_step: makes the mean gradient readable. Collective. UsageError for a total weight of 0: such a step must be skipped
  /// by zero_grad.
  void reduce(const StepTotals& totals, size_t optimizer = 0, Accumulation accumulation = Accumulation::mean);
  /// After reduce: the norm of the whole mean gradient, the same on all ranks: float64, without dimensions, on the gradients' device.
  /// Collective. The host does not wait for a device, here or in clip_*.
  Tensor grad_norm(size_t optimizer = 0);
  /// After reduce: limits the mean gradient to a norm, given its norm, or each element to [-limit, limit]. Local; the same on all ranks.
  void clip_by_norm(const Tensor& total_norm, double max_norm, size_t optimizer = 0);
  void clip_by_value(double limit, size_t optimizer = 0);
  /// After reduce: this rank's shards of the mean gradient. Local.
  std::vector<GradientSlice> gradients(size_t optimizer = 0);
  /// After reduce, once: one optimizer step. `schedule` maps a parameter group's base learning rate to that of this step. All ranks read
  /// the new parameters after it. `skip`, where skips_on_device(): fp32 without dimensions on the gradients' device, the same on all ranks;
  /// if it is 1 instead of 0, the parameters and the optimizer's state stay as they are. The host does not read it: it counts the update,
  /// and calls uncount_update when it knows of the skip. Collective.
  void update(const std::function<double(double)>& schedule, size_t optimizer = 0, const Tensor& skip = {});
  /// Whether update takes `skip`: on devices, where updates are not offloaded and no optimizer is a custom one. The same on all ranks.
  bool skips_on_device() const;
  /// An earlier update of the optimizer was skipped: optimizer_steps does not count it. Local.
  void uncount_update(size_t optimizer);
  /// Forgets gradients and weights of the step. Collective after a reduce without an update, else local.
  void zero_grad(size_t optimizer = 0);

  /// Calls fn(name, whole parameter) once per copy of each parameter, between steps: the only way to write parameters. Where a node shares
  /// one copy, only its first rank calls fn. What fn throws is rethrown on its rank, and becomes a UsageError on the others. Collective.
  void write_parameters(const std::function<void(const std::string&, Tensor&)>& fn);
  /// Calls fn(name, whole parameter) on every rank for each parameter, between steps, unit by unit in the same order. The tensor is valid
  /// during the call alone: fn copies what it keeps, and writes nothing. Where parameters are sharded, one unit at a time is unsharded.
  /// What fn throws is handled as by write_parameters. Collective.
  void read_parameters(const std::function<void(const std::string&, const Tensor&)>& fn);
  /// This rank's shards of the parameters, which it updates; those of all ranks (of hsdp: of a group's) cover every parameter, those of a
  /// private copy each. Valid until the next setup; write through write_parameters or assign_parameter_slices alone. Local.
  std::vector<ParameterSlice> parameter_slices() const;
  /// Between steps: `values` become this rank's shards of the trained parameters, in the order of parameter_slices and of the same sizes;
  /// those of parameters that no optimizer trains are ignored. All ranks read the new parameters after it. Collective.
  void assign_parameter_slices(const std::vector<Tensor>& values);
  /// Rank 0's buffers (BatchNorm statistics) become those of all ranks. They are looked up by name: a tensor that training reassigned to a
  /// registered buffer counts. Collective. UsageError on all ranks where they differ in names, shapes or dtypes.
  void broadcast_buffers();
  /// Before a state is loaded: buffers that were registered undefined become zeros of the shape and dtype that the state has for their
  /// name, or undefined again where it has none. Local.
  struct BufferForm {
    std::vector<int64_t> shape;
    at::ScalarType dtype;
  };
  void define_buffers(const std::function<std::optional<BufferForm>(const std::string& name)>& form_of);
  /// Names of the parameters that optimizers train and that require no gradient now; toggle does not count. They and their optimizer state
  /// stay as they are until they require a gradient again. The same on all ranks, or synchronize_step throws.
  std::vector<std::string> frozen_parameters() const;
  /// Freezes exactly these.
  void freeze_parameters(const std::vector<std::string>& names);

  /// Parameters, buffers (rank 0's are saved) and optimizer states, in the same order on all ranks, with this rank's parts of them.
  std::vector<StateTensor> state(StateUse use, bool weights_only = false) const;
  int64_t optimizer_steps(size_t optimizer) const;
  /// How many of its optimizer's steps a parameter missed because it was frozen, by name; parameters that missed none are left out. Bias
  /// corrections, and the start of a momentum, count the others.
  std::map<std::string, int64_t> missed_updates() const;
  /// After the parts of state(StateUse::load) were filled in. One number of steps per optimizer, or none: those of weights alone.
  /// Collective.
  void loaded(const std::vector<int64_t>& optimizer_steps, const std::map<std::string, int64_t>& missed_updates = {});

  const std::vector<NamedParameter>& parameters() const noexcept;
  double base_lr(size_t optimizer = 0) const;
  /// Replaces base_lr, until the next setup, also in parameter groups whose rule names the same learning rate. The same on all ranks.
  void set_base_lr(double lr, size_t optimizer = 0);
  /// The options of an optimizer's parameter groups, before any schedule; of one of LibTorch's, of its groups.
  std::vector<ParameterGroupOptions> parameter_group_options(size_t optimizer = 0) const;
  /// Null unless the optimizer is one of LibTorch's.
  const TorchOptimizer* custom_optimizer(size_t optimizer = 0) const noexcept;
  const std::vector<std::weak_ptr<UnitBase>>& units() const noexcept;

  /// For diagnostics and tests: one entry per flat group.
  struct GroupStatus {
    bool unsharded = true;  ///< its parameters can be read
    bool reducing = false;  ///< the reduction of its gradients is in flight
  };
  std::vector<GroupStatus> groups() const;

 private:
  class Collector;
  struct Engine;
  explicit Strategy(std::unique_ptr<Engine> engine);
  void check_absent(const std::vector<size_t>& absent, const Tensor& loss);

  std::unique_ptr<Engine> engine_;
};

}  // namespace levin
