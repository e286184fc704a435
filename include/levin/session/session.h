#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/checkpoint/checkpoint_writer.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mesh.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/topology.h"
#include "levin/core/batch.h"
#include "levin/core/named_values.h"
#include "levin/device/choose_device.h"
#include "levin/optim/lr_scheduler.h"
#include "levin/parallel/strategy.h"
#include "levin/session/gradient_scaling.h"
#include "levin/session/optimizer_values.h"
#include "levin/session/stateful.h"
#include "levin/session/stop_agreement.h"

namespace levin {

class AveragedParameters;
class FlightRecord;
class SyncBatchNorm;
struct InitialWeights;

/// A training without its loop: Trainer's loops use it, and so does a program that owns its loop:
///
///     Session session(mpi, config);
///     auto model = session.build<Model>(...);
///     session.setup(*model);
///     for (...) {
///       session.receive(batch);
///       session.backward(model->training_step(batch), batch.weight());
///       session.step();
///     }
///     session.save("restart/step=000100");
///
/// A session on an accelerator of a plug-in is made before LibTorch is used for anything else, at::manual_seed included: the plug-in's
/// libraries must come first. Collective are the constructor, setup, step and its parts (reduce, clip_gradients, update), gradients,
/// write_parameters, read_parameters, save and restore. Ranks may differ in batch size, never in the number of steps: a rank without data
/// passes weight 0.
class Session : public StopAgreement {
 public:
  /// `model_parallel`: extents of the mesh's axes that split a model; all others are data parallel. ConfigError for an invalid config,
  /// before anything collective.
  explicit Session(MpiRuntime& runtime, const SessionConfig& config = {}, uint64_t seed = 0, const AcceleratorRegistry& accelerators = {},
                   const ModelParallel& model_parallel = {});
  /// During stack unwinding it aborts the communicator: the other ranks' waits end with CommunicatorAborted.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Makes a model with the seed that all ranks share.
  template <class Model, class... Args>
  std::shared_ptr<Model> build(Args&&... args) {
    const auto context = start_build();
    return std::make_shared<Model>(std::forward<Args>(args)...);
  }
  /// The module's configure_model, with that seed.
  template <class Model>
  void configure(Model& module) {
    const auto context = start_build();
    module.configure_model();
  }
  /// Moves the parameters of a levin::Module, and its metrics, to the session's device in its precision. Collective.
  template <class Model>
  requires requires(Model& module) { module.configure_optimizers(); }
  void setup(Model& module) { setup(module, module.configure_optimizers()); }
  template <class Model>
  requires requires(Model& module) { module.metrics(); }
  void setup(Model& module, std::vector<OptimizerSpec> optimizers) {
    for (const auto& [name, metric] : module.metrics()) metric->to(device());
    setup(static_cast<torch::nn::Module&>(module), std::move(optimizers));
  }
  /// The same for any module. Each of several optimizers has a name, by which the calls below know it; its index is that of its spec.
  /// ConfigError for invalid options of an optimizer or a schedule.
  void setup(torch::nn::Module& module, std::vector<OptimizerSpec> optimizers);
  const std::vector<std::string>& optimizers() const noexcept { return optimizer_names_; }
  /// UsageError, with the names there are, for an unknown one.
  size_t optimizer_index(std::string_view name) const;

  /// The batch on the session's device, its floating-point tensors in the dtype of the parameters.
  void receive(Batch& batch) const;
  /// In a mixed precision, autocast for as long as the result lives, around the forward pass and the loss, as the Trainer's loops have it.
  [[nodiscard]] Autocast autocast() const { return {device().type(), autocast_dtype(config_.precision)}; }
  /// For a SyncBatchNorm::Scope around a micro-batch's forward and backward; null without sync_batchnorm.
  SyncBatchNorm* sync_batch_norm() const noexcept { return sync_batch_norm_.get(); }
  /// Sets this rank's random generator for a micro-batch of the coming step, before anything is done with its batch.
  void seed_micro_batch(int64_t micro_batch);
  /// The same for a batch of an evaluation.
  void seed_evaluation(int64_t dataloader_idx, int64_t batch_idx);
  /// Until toggle_all, backward is for this optimizer's parameters alone; the others require no gradient.
  void toggle(size_t optimizer) { strategy_->toggle(optimizer); }
  void toggle_all() { strategy_->toggle(std::nullopt); }
  /// The next backward is the last of its step, on all ranks: what can be sent meanwhile is. A loop may do without.
  void expect_step(size_t optimizer = 0) { strategy_->expect_step(optimizer); }
  /// Accumulates the gradients of weight * loss; `loss` has one element, the mean over the micro-batch. `weight`: its samples (or tokens),
  /// 0 for a padding batch. See Strategy::backward for errors.
  void backward(const Tensor& loss, double weight);

  /// The step of the only optimizer in one call; false if it was skipped because the weight of all ranks is 0. Gradients are zero
  /// afterwards. Collective.
  bool step();
  /// The step of an optimizer in parts, in this order: reduce (false: total weight 0, nothing to do), clip_gradients (optional), update,
  /// zero_grad; count_step ends the step of all optimizers. Collective but for count_step; the order is not checked. UsageError where
  /// ranks step different optimizers. An update skipped for a non-finite gradient counts as a step, as with PyTorch's GradScaler.
  bool reduce(size_t optimizer = 0, Accumulation accumulation = Accumulation::mean);
  void clip_gradients() { clip_gradients(0, config_.gradient_clip_val, config_.gradient_clip_algorithm); }
  /// 0 and null clip nothing. ConfigError for a negative value or NaN.
  void clip_gradients(size_t optimizer, std::optional<double> gradient_clip_val, ClipAlgorithm algorithm);
  void update(size_t optimizer = 0);
  void zero_grad(size_t optimizer = 0) { strategy_->zero_grad(optimizer); }
  /// Outside of steps, as in a validation: combines the requests of all ranks (see StopAgreement). Collective.
  void exchange_requests() { set_agreed(strategy_->combine_signals(local_requests())); }
  void count_step() noexcept { progress_.step++; }
  /// Newly logged values, the same on all ranks, for schedules that wait for a plateau. A schedule reads each new value once, when its
  /// interval is over.
  void note_values(const NamedValues& values);
  /// The values without which check_monitors fails.
  std::vector<std::string> required_values() const;
  /// ConfigError, with the names there are, where `logged`, all that will be logged, lacks the value of a plateau schedule.
  void check_monitors(const NamedValues& logged) const;
  /// Whether a plateau schedule reads values after the last step that was counted.
  bool monitors_steps() const;
  /// After every step and epoch, as `interval` says: schedules of this interval read their new values. ConfigError, with the names
  /// there are, where `logged`, all that was logged so far, lacks a monitored value; null: it may still be logged.
  void step_schedulers(Interval interval, const NamedValues* logged);
  /// Both.
  void step_schedulers(Interval interval, const NamedValues& values) { note_values(values), step_schedulers(interval, &values); }

  /// After reduce, before update: this rank's shards of the mean gradient, see GradientSlice. Local.
  std::vector<GradientSlice> gradients(size_t optimizer = 0) { return strategy_->gradients(optimizer); }
  /// Collective, between steps: calls fn(name, whole parameter) to change parameters; see Strategy::write_parameters.
  void write_parameters(const std::function<void(const std::string&, Tensor&)>& fn) { strategy_->write_parameters(fn); }
  /// Collective, between steps: calls fn(name, whole parameter) on every rank, under every strategy; see Strategy::read_parameters.
  void read_parameters(const std::function<void(const std::string&, const Tensor&)>& fn) { strategy_->read_parameters(fn); }
  /// Local: this rank's slices of the parameters, without a copy; see Strategy::parameter_slices.
  std::vector<ParameterSlice> parameter_slices() const { return strategy_->parameter_slices(); }
  /// Ends the waits of all ranks with CommunicatorAborted, which names this rank and the reason: for a program that caught an exception on
  /// this rank and gives up. Afterwards the session can only be destroyed.
  void abort(const std::string& reason) noexcept { communicator_->abort(reason); }
  GradientScaling& scaling() noexcept { return scaling_; }
  /// Norm of the last step's mean gradient before clipping; 0 where gradient_clip_val does not need it. Waits for the device.
  double last_grad_norm() const { return grad_norm_.defined() ? grad_norm_.item<double>() : 0; }
  /// The learning rate of an optimizer's coming step, of parameters without a rule; 0 without an optimizer.
  double learning_rate(size_t optimizer = 0) const;
  /// Until it is called with null: the learning rate of a parameter group, given that of its options, in place of what the schedule gives.
  /// The same on all ranks.
  void override_learning_rate(std::function<double(double lr)> rate) { rate_override_ = std::move(rate); }
  /// The values that the optimizers will use in the next step, for monitors; empty for a module that is not trained.
  std::vector<OptimizerValues> optimizer_values() const;

  /// The state of an optimizer's plateau schedule.
  const PlateauState& plateau(size_t optimizer = 0) const { return plateaus_.at(optimizer); }

  /// Checkpoints keep these averages, too, and take them back; null: none. The same on all ranks.
  void set_averages(std::shared_ptr<AveragedParameters> averages) { averages_ = std::move(averages); }
  AveragedParameters* averages() const noexcept { return averages_.get(); }
  /// Saves and restores keep the state of this object, too, as long as it is attached; all ranks attach the same, in the same order.
  /// UsageError for a name that another one has.
  void attach(Stateful& stateful);
  void detach(const Stateful& stateful) noexcept;
  const std::vector<Stateful*>& stateful() const noexcept { return stateful_; }
  /// Writes a checkpoint, where a step is complete: model, optimizers, progress, schedules, and what is attached. Returns when it is
  /// committed; one of the same name is replaced. Collective. IoError on all ranks where a file system refuses it.
  SaveReport save(const std::filesystem::path& checkpoint, const std::map<std::string, std::string>& fields = {});
  /// After setup with the same model and optimizers, on any number of ranks. Collective. IoError where it cannot be read, DataError where
  /// it is corrupt or does not fit the model, ConfigError for another seed.
  void restore(const std::filesystem::path& checkpoint);
  /// Gives the model its first weights. Collective. DataError, which lists names, where they do not fit; ConfigError for a rename that
  /// matches no name, or maps two names to one.
  void load_weights(const InitialWeights& init);
  /// For a loop that writes its own checkpoints: step, epoch, seed, schedules, loss scale.
  void add_progress(StateDict& state);
  void restore_progress(const StateDict& state);
  /// Steps and epochs done; the loop sets the epoch and the lengths, for schedules.
  Progress& progress() noexcept { return progress_; }
  const Progress& progress() const noexcept { return progress_; }
  MpiRuntime& runtime() noexcept { return *runtime_; }
  /// For tensors on the session's device; its cpu() for those in host memory.
  Communicator& communicator() noexcept { return *communicator_; }
  /// Where this rank stands, for a watchdog; a program that owns its loop calls advance() after every step.
  FlightRecord& flight() noexcept;
  /// Who plays which role; world() is communicator(), or where share_parameters is numa one in which NUMA domains are nodes.
  const Mesh& mesh() const noexcept { return *mesh_; }
  Strategy& strategy() noexcept { return *strategy_; }
  const Topology& topology() const noexcept { return topology_; }
  const Accelerator& accelerator() const noexcept { return *chosen_.accelerator; }
  c10::Device device() const noexcept { return chosen_.device; }
  uint64_t seed() const noexcept { return seed_; }
  int rank() const noexcept { return communicator_->rank(); }
  int size() const noexcept { return communicator_->size(); }

 private:
  std::unique_ptr<BuildContext> start_build();
  double scheduled(size_t optimizer, double lr) const;
  const ReduceLROnPlateau* plateau_schedule(size_t optimizer) const;
  Autocast no_autocast() const { return {device().type(), autocast_dtype(config_.precision), /*on=*/false}; }

  MpiRuntime* runtime_;
  SessionConfig config_;
  uint64_t seed_;
  Topology topology_;
  ChosenDevice chosen_;
  std::unique_ptr<Communicator> communicator_, domains_;  // what the strategy shares by NUMA domain
  std::unique_ptr<Mesh> mesh_;
  std::unique_ptr<SyncBatchNorm> sync_batch_norm_;
  std::unique_ptr<Strategy> strategy_;
  GradientScaling scaling_;
  std::vector<OptimizerSpec> specs_;
  std::vector<std::string> optimizer_names_;
  std::vector<PlateauState> plateaus_;
  std::vector<Stateful*> stateful_;
  Progress progress_;
  std::function<double(double lr)> rate_override_;
  std::shared_ptr<AveragedParameters> averages_;
  Tensor grad_norm_;
  int exceptions_;  // in flight at construction
};

}  // namespace levin
