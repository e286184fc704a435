#include "levin/trainer/trainer.h"

#include <algorithm>
#include <exception>
#include <typeinfo>

#include "evaluation_loop.h"
#include "fit_loop.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/device/work_stream.h"
#include "levin/session/state_reader.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/module.h"
#include "prepare_data.h"
#include "profiler_list.h"
#include "queued_logger.h"
#include "run.h"
#include "run_guards.h"
#include "run_state.h"

namespace levin {
namespace {
RunScope::Names names_of(const Module& module) {
  RunScope::Names names;
  for (const auto& item : module.named_modules("", /*include_self=*/false)) names.emplace_back(item.value().get(), item.key());
  return names;
}
}  // namespace

const char* stage_name(Stage stage) noexcept {
  switch (stage) {
    case Stage::fit: return "fit";
    case Stage::validate: return "validate";
    case Stage::test: return "test";
    case Stage::predict: return "predict";
  }
  return "?";
}

Trainer::Trainer(const TrainerConfig& config, MpiRuntime& runtime, uint64_t seed, const AcceleratorRegistry& accelerators,
                 const ModelParallel& model_parallel)
    : config_(config.resolved()),
      profilers_(std::make_unique<ProfilerList>(config_.profiler.make())),
      session_(runtime, config_.session, seed, accelerators, model_parallel),
      logging_(std::make_unique<LoggerConnector>(config_, session_, loggers_, report_)) {
  if (const auto devices = config_.devices.value; devices && *devices != session_.size())
    throw ConfigError(fmt::format("trainer.devices is {}, but {} ranks were started", *devices, session_.size()),
                      fmt::format("start them with mpirun -n {} PROGRAM …, or srun -n {} PROGRAM …", *devices, *devices), "trainer");
  const int hosts = session_.topology().hosts(), ranks = session_.size();
  if (const auto nodes = config_.num_nodes.value; nodes && *nodes != hosts) {
    const int64_t a_node = std::max<int64_t>(1, (ranks + *nodes - 1) / *nodes);
    throw ConfigError(fmt::format("trainer.num_nodes is {}, but the ranks run on {}", *nodes, hosts),
                      fmt::format("start them with mpirun -n {0} --map-by ppr:{1}:node PROGRAM …, or srun -N {2} -n {0} PROGRAM …",
                                  a_node * *nodes, a_node, *nodes),
                      "trainer");
  }
  for (auto& callback : config_.callbacks.make()) add_callback(std::move(callback));
  if (config_.barebones) runtime.log().info("[trainer] barebones: no logging, progress bar, model summary or sanity check");
}

Trainer::~Trainer() = default;

// The module's callbacks replace those of their class.
void Trainer::attach_callbacks(Run& run) {
  auto& module = run.module();
  auto callbacks = callbacks_;
  for (const auto& own : call_hook("configure_callbacks", module, [&] { return module.configure_callbacks(); })) {
    std::erase_if(callbacks, [&](const auto& callback) { return typeid(*callback) == typeid(*own); });
    callbacks.push_back(own);
  }
  for (const auto& callback : callbacks) callback->attach(this, &module);
  run.set_callbacks(std::move(callbacks));
}

void Trainer::prepare_model(Stage stage, Module& module) {
  call_hook("configure_model", module, [&] { session_.configure(module); });
  const bool train = stage == Stage::fit;
  if (session_.strategy().holds(module) && (trains_ || !train)) return;
  call_hook("the strategy's setup", module, [&] { session_.setup(module, train ? optimizers_of(module) : std::vector<OptimizerSpec>()); });
  trains_ = train;
}

void Trainer::run(Stage stage, Module& module, DataModule& data, const std::function<void(Run&)>& body) {
  ProfilerList* const profilers = profilers_->empty() ? nullptr : profilers_.get();
  if (profilers) profilers->begin_run(stage, session_);
  profile_run(profilers, stage, module, data, body);
  if (profilers) profilers->end_run(stage, session_, default_root_dir_);
}

void Trainer::profile_run(ProfilerList* profilers, Stage stage, Module& module, DataModule& data, const std::function<void(Run&)>& body) {
  const ObservedThread observed(profilers);
  const ModuleInRun in_run(module, data, *this);
  Run run({config_, session_, checkpoints_, *logging_, report_, profilers}, module, data);
  const CurrentRun current(run_, run);
  RunScope::Names names = names_of(module);
  const RunScope scope(names, session_.progress().step);
  const NumericFlags flags(config_, stage);
  const WorkStream stream(session_.device());
  const DrainedLoggers drained(*logging_);
  const FlightRecord::Phase phase(session_.flight(), stage_name(stage));
  session_.flight().set_step(session_.progress().step);
  logging_->set_end(RunEnd::failed);
  try {
    attach_callbacks(run);
    prepare_data(data, session_.topology(), session_.communicator());
    {
      const FlightRecord::Phase setup(session_.flight(), "setup");
      call_hook("setup", data, [&] { data.setup(stage); });
      run.hooks().call("setup", &Hooks::setup, stage);
      prepare_model(stage, module);
    }
    names = names_of(module);  // configure_model may have added modules
    body(run);
    call_hook("teardown", data, [&] { data.teardown(stage); });
    run.hooks().call("teardown", &Hooks::teardown, stage);
    logging_->set_end(session_.must_exit() ? RunEnd::stopped : RunEnd::finished);
  } catch (const CommunicatorAborted&) {
    throw;  // another rank's error, which that rank reports
  } catch (const std::exception& error) {
    const std::string message = explain(error);
    session_.communicator().abort(message);
    const KeepErrorContext kept;
    for (const auto& callback : run.callbacks()) call_hook("on_exception", *callback, [&] { callback->on_exception(message); });
    call_hook("on_exception", data, [&] { data.on_exception(message); });
    throw;
  }
}

void Trainer::replace_optimizer(const std::optional<OptimizerConfig>& optimizer, const std::optional<LrSchedulerConfig>& lr_scheduler) {
  optimizer_ = optimizer;
  lr_scheduler_ = lr_scheduler;
}

std::vector<OptimizerSpec> Trainer::optimizers_of(Module& module) const {
  auto specs = call_hook("configure_optimizers", module, [&] { return module.configure_optimizers(); });
  if (!optimizer_ && !lr_scheduler_) return specs;
  if (specs.size() > 1 || (specs.empty() && !optimizer_))
    throw UsageError("trainer", fmt::format("options replace the optimizer or its schedule, and the model configures {}", specs.size()),
                     "they replace those of a model with one optimizer");
  if (specs.empty()) specs.emplace_back(*optimizer_);
  if (optimizer_) specs.front().optimizer = *optimizer_, specs.front().factory = nullptr;
  if (lr_scheduler_) specs.front().lr_scheduler = lr_scheduler_;
  return specs;
}

void Trainer::add_loggers(const std::filesystem::path& folder) {
  if (session_.rank() != 0) return;
  for (auto& logger : config_.logger.make(folder)) add_logger(std::move(logger));
}

void Trainer::add_profiler(std::shared_ptr<Profiler> profiler) { profilers_->add(std::move(profiler)); }

void Trainer::finalize_loggers() { logging_->finalize(); }

void Trainer::fit(Module& module, DataModule& data, const LoadFrom& from) {
  session_.forget_stop();
  report_.stop_reason.clear();  // set by the callback that stops the training
  report_.already_complete = false;
  run(Stage::fit, module, data, [&](Run& run) { FitLoop(run).run(from); });
  if (report_.stop_reason.empty())
    report_.stop_reason = session_.stops_for(StopReason::time_over) ? "max_time is over"
                          : session_.should_stop()                  ? "stopped early"
                                                                    : "finished";
  if (!config_.test_after_fit || session_.must_exit() || (report_.already_complete && from.tested)) return;
  evaluate(Stage::test, module, data);
}

void Trainer::load_weights(const LoadFrom& from) {
  if (from.checkpoint) {
    StateReader saved(session_, from);
    saved.load_model(/*weights_only=*/true);
    auto state = detail::state_of(run_->data());
    saved.load(state);
  }
  if (!from.checkpoint && from.init) session_.load_weights(*from.init);
}

NamedValues Trainer::evaluate(Stage stage, Module& module, DataModule& data, const LoadFrom& from) {
  NamedValues values;
  run(stage, module, data, [&](Run& run) {
    load_weights(from);
    values = EvaluationLoop(run, stage).run();
  });
  if (session_.must_exit()) report_.stop_reason = "stopped early";
  return values;
}

NamedValues Trainer::validate(Module& module, DataModule& data, const LoadFrom& from) {
  session_.forget_stop();
  return evaluate(Stage::validate, module, data, from);
}

NamedValues Trainer::test(Module& module, DataModule& data, const LoadFrom& from) {
  session_.forget_stop();
  return evaluate(Stage::test, module, data, from);
}

std::vector<Prediction> Trainer::predict(Module& module, DataModule& data, const LoadFrom& from) {
  std::vector<Prediction> predictions;
  session_.forget_stop();
  run(Stage::predict, module, data, [&](Run& run) {
    load_weights(from);
    EvaluationLoop loop(run, Stage::predict);
    loop.run();
    predictions = loop.take_predictions();
  });
  if (session_.must_exit()) report_.stop_reason = "stopped early";
  return predictions;
}

const std::vector<std::shared_ptr<Callback>>& Trainer::callbacks() const noexcept { return run_ ? run_->callbacks() : callbacks_; }

DataModule* Trainer::datamodule() const noexcept { return run_ ? &run_->data() : nullptr; }

std::unique_ptr<Loader> Trainer::training_loader() const {
  if (!run_) throw UsageError("trainer", "training_loader was called outside of a run", "call it in a hook");
  auto& data = run_->data();
  return run_->make_loader(call_hook("train_dataloader", data, [&] { return data.train_dataloader(); }), /*training=*/true);
}

void Trainer::set_train_batch_size(int64_t samples) {
  if (!run_) throw UsageError("trainer", "set_train_batch_size was called outside of a run", "call it in a hook");
  run_->set_train_batch_size(samples);
}

std::optional<int64_t> Trainer::train_batch_size() const noexcept { return run_ ? run_->train_batch_size() : std::nullopt; }

void Trainer::drop_predictions() {
  if (!run_) throw UsageError("trainer", "drop_predictions was called outside of a run", "call it in a hook");
  run_->drop_predictions();
}

BatchProgress Trainer::batch_progress() const noexcept { return run_ ? run_->batch_progress() : BatchProgress{}; }

bool Trainer::validates() const noexcept { return run_ && run_->validates(); }

NamedValues Trainer::progress_bar_values() const { return run_ && run_->logs() ? run_->logs()->progress_bar() : NamedValues{}; }

void Trainer::log_hyperparams(const std::string& yaml) { logging_->log_hyperparams(yaml); }

void Trainer::log_metrics(const NamedValues& values, std::optional<int64_t> step) { logging_->log_metrics(values, step); }

}  // namespace levin
