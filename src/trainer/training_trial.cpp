#include "levin/trainer/training_trial.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <exception>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "../session/nonfinite_gradient.h"
#include "batch_fit.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/optim/torch_optimizer.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "logger_connector.h"
#include "run.h"
#include "run_guards.h"
#include "train_step.h"

namespace levin {
namespace {

// The random generators of the host and of a GPU.
class GeneratorStates {
 public:
  explicit GeneratorStates(c10::Device device) : generators_{at::detail::getDefaultCPUGenerator()} {
    if (device.is_cuda()) generators_.push_back(at::globalContext().defaultGenerator(device));
    for (auto& generator : generators_) {
      const std::scoped_lock lock(generator.mutex());
      states_.push_back(generator.get_state());
    }
  }
  void restore() {
    for (size_t i = 0; i < generators_.size(); i++) {
      const std::scoped_lock lock(generators_[i].mutex());
      generators_[i].set_state(states_[i]);
    }
  }

 private:
  std::vector<at::Generator> generators_;
  std::vector<Tensor> states_;
};

// A copy of this rank's parts of the parameters, buffers and optimizer states. What is zero, as the optimizers of a new training, needs no
// memory.
class TensorCopies {
 public:
  explicit TensorCopies(const Strategy& strategy) {
    const at::NoGradGuard no_grad;
    for (const auto& tensor : strategy.state(StateUse::load)) {
      Copy copy{.shape = tensor.shape, .dtype = tensor.dtype};
      for (const auto& part : tensor.parts)
        copy.parts.push_back(part.values.count_nonzero().item<int64_t>() == 0 ? Tensor() : part.values.clone());
      copies_.emplace(tensor.name, std::move(copy));
    }
  }
  void write_back(Strategy& strategy) const {
    const at::NoGradGuard no_grad;
    strategy.define_buffers([&](const std::string& name) -> std::optional<Strategy::BufferForm> {
      const auto found = copies_.find("model/" + name);
      if (found == copies_.end()) return std::nullopt;
      return Strategy::BufferForm{found->second.shape, found->second.dtype};
    });
    for (auto& tensor : strategy.state(StateUse::load)) {
      const auto found = copies_.find(tensor.name);
      if (found == copies_.end() || found->second.shape != tensor.shape || found->second.parts.size() != tensor.parts.size())
        throw UsageError("trainer", fmt::format("{} changed its shape in the steps of a trial", tensor.name),
                         "leave out the callback that tries steps before the training");
      for (size_t i = 0; i < tensor.parts.size(); i++)
        if (const Tensor& values = found->second.parts[i]; values.defined())
          tensor.parts[i].values.copy_(values);
        else
          tensor.parts[i].values.zero_();
    }
  }

 private:
  struct Copy {
    std::vector<int64_t> shape;
    c10::ScalarType dtype = c10::ScalarType::Float;
    std::vector<Tensor> parts = {};  // undefined: zeros
  };
  std::map<std::string, Copy> copies_;
};

// The training's own step has made the module's manual optimization before.
class KeptOptimization {
 public:
  explicit KeptOptimization(Module& module) : module_(module), before_(module.optimization()) {}
  ~KeptOptimization() { module_.attach_optimization(before_); }
  KeptOptimization(const KeptOptimization&) = delete;
  KeptOptimization& operator=(const KeptOptimization&) = delete;

 private:
  Module& module_;
  ManualOptimization* before_;
};

// Waits for the results of the last steps on a device. One that would end a training is dropped as the others.
void settle_all(GradientScaling& scaling) {
  for (bool settled = false; !settled;) try {
      scaling.settle();
      settled = true;
    } catch (const detail::NonfiniteGradient&) {
      continue;
    }
}

// A part of a state that takes ranks to put together cannot be loaded without a checkpoint.
StateDict plain(StateDict state, const char* hook) {
  for (const auto& [name, value] : state.values())
    if (std::holds_alternative<StateDict::EachRank>(value) || std::holds_alternative<StateDict::RankRows>(value))
      throw UsageError("trainer", fmt::format("{} keeps {} of each rank, and steps are tried before the training", hook, name),
                       "leave out the callback that tries them");
  return state;
}

}  // namespace

struct TrainingTrial::Snapshot {
  Snapshot(Trainer& trainer, Module& module)
      : generators(trainer.session().device()),
        progress_of_session(trainer.session().progress()),
        data(plain(trainer.datamodule()->state_dict(), "state_dict of the data module")) {
    auto& session = trainer.session();
    session.add_progress(progress);
    for (size_t i = 0; i < session.optimizers().size(); i++) optimizer_steps.push_back(session.strategy().optimizer_steps(i));
    missed_updates = session.strategy().missed_updates();
    tensors.emplace(session.strategy());
    StateDict of_hooks;
    module.on_save_checkpoint(of_hooks);
    hooks = plain(std::move(of_hooks), "on_save_checkpoint of the module");
  }

  GeneratorStates generators;
  Progress progress_of_session;
  StateDict data, progress, hooks;
  std::vector<int64_t> optimizer_steps;
  std::map<std::string, int64_t> missed_updates;
  std::optional<TensorCopies> tensors;
};

TrainingTrial::TrainingTrial(Trainer& trainer, Module& module) : trainer_(trainer), module_(module) {
  const auto& session = trainer.session();
  for (size_t i = 0; i < session.optimizers().size(); i++)
    if (const auto* custom = trainer.session().strategy().custom_optimizer(i); custom && !custom->keeps_state())
      throw UsageError("trainer", fmt::format("steps cannot be tried with the custom optimizer {}, whose state is unknown", custom->name()),
                       "derive it from levin::OptimizerMemory, too, or leave out the callback that tries steps");
  snapshot_ = std::make_unique<Snapshot>(trainer, module);
}

TrainingTrial::~TrainingTrial() = default;

void TrainingTrial::restore() {
  auto& session = trainer_.session();
  auto& strategy = session.strategy();
  session.override_learning_rate(nullptr);
  session.forget_late_agreement();
  settle_all(session.scaling());
  session.communicator().barrier();  // others may still read a shared copy
  snapshot_->tensors->write_back(strategy);
  strategy.loaded(snapshot_->optimizer_steps, snapshot_->missed_updates);
  session.restore_progress(snapshot_->progress);
  session.progress() = snapshot_->progress_of_session;
  for (const auto& [name, metric] : module_.metrics()) metric->reset();
  if (!snapshot_->data.empty()) trainer_.datamodule()->load_state_dict(snapshot_->data);
  if (!snapshot_->hooks.empty()) module_.on_load_checkpoint(snapshot_->hooks);
  snapshot_->generators.restore();
}

// The loop of one call of run().
class TrainingTrial::Attempt {
 public:
  Attempt(Trainer& trainer, Module& module, const TrialOptions& options)
      : session_(trainer.session()),
        module_(module),
        options_(options),
        logging_(trainer.config(), session_, no_loggers_, report_),
        run_({trainer.config(), session_, trainer.checkpoints(), logging_, report_, /*profilers=*/nullptr}, module, *trainer.datamodule()),
        target_(run_, logs_),
        mode_(module),
        optimization_(module),
        fit_(session_, options.batch_may_not_fit, communicates_inside()) {
    module.train();
    run_.set_callbacks({});  // the module's hooks alone
    run_.set_train_batch_size(options.batch_size ? options.batch_size : trainer.train_batch_size());
    for (const auto& callback : trainer.callbacks())
      if (const auto batches = callback->accumulate_grad_batches(session_.progress().epoch)) {
        run_.set_accumulate_grad_batches(*batches);
        break;
      }
    step_ = TrainStep::make(run_, logs_);
    auto& data = run_.data();
    loader_ = run_.make_loader(call_hook("train_dataloader", data, [&] { return data.train_dataloader(); }), /*training=*/true);
    batches_ = Run::allowed_batches(trainer.config().limit_train_batches, *loader_, "limit_train_batches");
    if (fit_.agrees()) step_->set_before_update([this] { fit_.agree(BatchFit::fits); });
  }

  TrialResult run() {
    const FlightRecord::Phase phase(session_.flight(), "trial");
    session_.override_learning_rate([](double lr) { return lr; });
    for (int64_t epoch = session_.progress().epoch; !done(); epoch++) {
      const int64_t before = result_.steps;
      try {
        run_epoch(epoch);
      } catch (const UnfitBatch& unfit) {
        result_.fit = unfit.fit;
        drop_step();
      } catch (const detail::NonfiniteGradient&) {  // all ranks', which would end a training
        ended_ = true;
        drop_step();
      }
      if (result_.steps == before && !done())
        throw ConfigError("steps are tried before the training, and the training data have no batch",
                          "give data, or raise limit_train_batches", "trainer");
    }
    logs_.clear();
    return result_;
  }

 private:
  void drop_step() {
    session_.toggle_all();
    for (size_t i = 0; i < session_.optimizers().size(); i++) session_.zero_grad(i);
  }

  bool done() const { return ended_ || result_.steps >= options_.steps || result_.fit != BatchFit::fits || session_.must_exit(); }

  bool communicates_inside() const {
    return session_.strategy().plan().communicates_inside() || session_.sync_batch_norm() || !module_.automatic_optimization();
  }

  void run_epoch(int64_t epoch) {
    loader_->set_epoch(epoch);
    for (int64_t batch_idx = 0; batch_idx < batches_ && !done(); batch_idx++) {
      Batch* batch = call_hook("reading the next training batch", *loader_, [&] { return loader_->next(); });
      if (!batch) break;
      fit_.begin_batch();
      try {
        train(*batch, batch_idx);
      } catch (const std::exception& error) {
        fit_.refuse(error);
      }
      fit_.end_batch();
      end_step();
    }
  }

  void train(Batch& batch, int64_t batch_idx) {
    const auto& hooks = run_.hooks();
    if (step_->micro_batch() == 0 && options_.learning_rate)
      session_.override_learning_rate([base = session_.strategy().base_lr(), tried = options_.learning_rate(result_.steps)](double lr) {
        return lr == base ? tried : lr;
      });
    step_->begin();
    {
      const PaddingGuard padding(module_, batch);
      run_.transfer(batch);
    }
    hooks.call("on_train_batch_start", &Hooks::on_train_batch_start, batch, batch_idx);
    module_.begin_batch();
    const Tensor loss = step_->run(batch, batch_idx + 1 == batches_ || loader_->at_end());
    if (const double weight = module_.weight_of(batch); loss.defined() && weight > 0) {
      loss_sum_ += loss.item<double>() * weight;
      weight_ += weight;
    }
    hooks.call("on_train_batch_end", &Hooks::on_train_batch_end, loss, batch, batch_idx);
    session_.flight().advance();
  }

  void end_step() {
    if (const int64_t step = session_.progress().step; std::exchange(last_step_, step) == step) return;  // an accumulation
    const auto sums = all_sum(session_.mesh().data_communicator(), std::vector<double>{loss_sum_, weight_});
    loss_sum_ = weight_ = 0;
    const double loss = sums[1] > 0 ? sums[0] / sums[1] : std::numeric_limits<double>::quiet_NaN();
    if (options_.after_step && !options_.after_step(result_.steps, loss)) ended_ = true;
    result_.steps++;
  }

  Session& session_;
  Module& module_;
  const TrialOptions& options_;
  RunReport report_;
  std::vector<std::shared_ptr<Logger>> no_loggers_;
  LoggerConnector logging_;
  LogCollection logs_{/*training=*/true};
  Run run_;
  LogTarget target_;
  EvaluationMode mode_;
  KeptOptimization optimization_;
  BatchFitAgreement fit_;
  std::unique_ptr<TrainStep> step_;
  std::unique_ptr<Loader> loader_;
  int64_t batches_ = 0;
  int64_t last_step_ = session_.progress().step;
  double loss_sum_ = 0, weight_ = 0;  // of the step under way, on this rank
  bool ended_ = false;
  TrialResult result_;
};

TrialResult TrainingTrial::run(const TrialOptions& options) { return Attempt(trainer_, module_, options).run(); }

}  // namespace levin
