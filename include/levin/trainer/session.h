#pragma once
#include <memory>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/topology.h"
#include "levin/core/batch.h"
#include "levin/device/accelerator.h"
#include "levin/optim/lr_scheduler.h"
#include "levin/parallel/strategy.h"
#include "levin/trainer/logger.h"
#include "levin/trainer/optimizer_values.h"
#include "levin/trainer/trainer_config.h"

namespace levin {

class Module;

/// Why a rank wants the training to stop; or-ed over the ranks at every step.
enum class StopReason : uint32_t { requested = 1, interrupted = 2, terminated = 4, time_over = 8, timer = 16 };

/// A training without a loop: what Trainer's loops are made of, and what a program with a loop of its own uses directly:
///
///     Session session(mpi, config);
///     auto model = session.build<Model>(...);
///     session.setup(*model);
///     for (...) {
///       session.receive(batch);
///       session.backward(model->training_step(batch), batch.weight());
///       session.step();
///     }
///
/// Collective are the constructor, setup, step and its parts (reduce, clip_gradients, update), gradients and write_parameters. Ranks may
/// differ in batch size, never in the number of steps: a rank without data passes weight 0.
class Session {
 public:
  explicit Session(MpiRuntime& runtime, const SessionConfig& config = {}, uint64_t seed = 0, const AcceleratorRegistry& accelerators = {});
  ~Session();

  /// Makes a model with the seed that all ranks share.
  template <class Model, class... Args>
  std::shared_ptr<Model> build(Args&&... args) {
    const auto context = start_build();
    return std::make_shared<Model>(std::forward<Args>(args)...);
  }
  /// Gives the model's parameters to the strategy, in the session's precision and on its device.
  void setup(Module& module);
  void setup(torch::nn::Module& module, const std::vector<OptimizerSpec>& optimizers);

  /// The batch on the session's device, its floating-point tensors in the session's precision.
  void receive(Batch& batch) const;
  /// Sets this rank's random generator for a micro-batch of the coming step.
  void seed_micro_batch(int64_t micro_batch);
  /// The next backward is the last of its step, on all ranks: what can be sent meanwhile is. A loop may do without.
  void expect_step() { strategy_->expect_step(); }
  /// Accumulates the gradients of a micro-batch's mean loss, which counts for `weight`.
  void backward(const Tensor& loss, double weight);

  /// The step in one call; false when it was skipped because no rank had a sample. Gradients are zero afterwards.
  bool step();
  /// The step in parts, for hooks between them: the mean gradient (false: nothing to do), clipping, the update.
  bool reduce();
  void clip_gradients();
  void update();
  void zero_grad() { strategy_->zero_grad(); }

  /// Shows the newest logged values to a schedule that waits for a plateau: after every step and at the end of every epoch, as `moment`
  /// says. All ranks have the same values. ConfigError, with the names there are, where the one that it monitors is missing.
  void look_at(Interval moment, const NamedValues& values);

  /// Asks for a stop, on any rank; all ranks see it in should_stop() after the same reduce().
  void request_stop(StopReason reason) noexcept { wanted_ |= static_cast<uint32_t>(reason); }
  /// Stops at once; all ranks call it at the same moment, as they can where they decide from the same values.
  void stop(StopReason reason) noexcept { agreed_ |= static_cast<uint32_t>(reason); }
  /// A new training begins: earlier wishes are forgotten.
  void forget_stop() noexcept { wanted_ = agreed_ = 0; }
  bool should_stop() const noexcept { return (agreed_ & stop_bits) != 0; }
  /// Whether any rank asked for a stop for this reason; agreed, as should_stop() is.
  bool stops_for(StopReason reason) const noexcept { return (agreed_ & static_cast<uint32_t>(reason)) != 0; }

  /// Asks for a validation, on any rank; all ranks see it in validation_wanted() after the same reduce(), until it is forgotten.
  void request_validation() noexcept { wanted_ |= validation_bit; }
  bool validation_wanted() const noexcept { return (agreed_ & validation_bit) != 0; }
  void forget_validation() noexcept { wanted_ &= stop_bits, agreed_ &= stop_bits; }

  std::vector<GradientSlice> gradients() { return strategy_->gradients(); }
  void write_parameters(const std::function<void(const std::string&, Tensor&)>& fn) { strategy_->write_parameters(fn); }
  /// Norm of the last step's mean gradient before clipping; 0 where gradient_clip_val does not need it.
  double last_grad_norm() const noexcept { return grad_norm_; }
  /// The learning rate of the coming step, of parameters without a rule.
  double learning_rate() const;
  /// What the optimizer will use in the coming step, for monitors; none for a module that is not trained.
  std::vector<OptimizerValues> optimizer_values() const;

  /// What a plateau schedule has seen so far.
  const PlateauState& plateau() const noexcept { return plateau_; }
  /// Steps and epochs done; the loop sets the epoch and the lengths, for schedules.
  Progress& progress() noexcept { return progress_; }
  const Progress& progress() const noexcept { return progress_; }
  MpiRuntime& runtime() noexcept { return *runtime_; }
  Communicator& communicator() noexcept { return *communicator_; }
  Strategy& strategy() noexcept { return *strategy_; }
  const Topology& topology() const noexcept { return topology_; }
  const Accelerator& accelerator() const noexcept { return *accelerator_; }
  c10::Device device() const noexcept { return device_; }
  uint64_t seed() const noexcept { return seed_; }
  int rank() const noexcept { return communicator_->rank(); }
  int size() const noexcept { return communicator_->size(); }

 private:
  std::unique_ptr<BuildContext> start_build();
  double scheduled(double lr) const;

  MpiRuntime* runtime_;
  SessionConfig config_;
  uint64_t seed_;
  Topology topology_;
  std::unique_ptr<Accelerator> accelerator_;
  c10::Device device_;
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<Strategy> strategy_;
  std::vector<OptimizerSpec> optimizers_;
  PlateauState plateau_;
  Progress progress_;
  double grad_norm_ = 0;
  static constexpr uint32_t validation_bit = 1u << 16, stop_bits = validation_bit - 1;
  uint32_t wanted_ = 0, agreed_ = 0;
};

}  // namespace levin
