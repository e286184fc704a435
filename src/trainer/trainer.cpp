#include "levin/trainer/trainer.h"

#include <algorithm>
#include <exception>
#include <typeinfo>

#include "levin/core/error.h"
#include "levin/data/stream_loader.h"
#include "levin/session/state_reader.h"
#include "levin/trainer/evaluation_loop.h"
#include "levin/trainer/fit_loop.h"
#include "prepare_data.h"
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

Trainer::Trainer(const TrainerConfig& config, MpiRuntime& runtime, uint64_t seed, const AcceleratorRegistry& accelerators)
    : config_(config.resolved()), session_(runtime, config_.session, seed, accelerators) {
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

void Trainer::attach_hooks(Module& module) {
  run_callbacks_ = callbacks_;
  for (const auto& own : call("configure_callbacks", module, [&] { return module.configure_callbacks(); })) {
    const auto same = [&](const auto& callback) { return typeid(*callback) == typeid(*own); };
    std::erase_if(run_callbacks_, same);
    run_callbacks_.push_back(own);
  }
  hooks_.clear();
  for (const auto& callback : run_callbacks_) {
    callback->attach(this, &module);
    hooks_.add(*callback, callback->monitors());
  }
  hooks_.add(module);
}

void Trainer::prepare_model(Stage stage, Module& module) {
  call("configure_model", module, [&] { session_.configure(module); });
  const bool train = stage == Stage::fit;
  if (session_.strategy().holds(module) && (trains_ || !train)) return;
  call("the strategy's setup", module, [&] { session_.setup(module, train ? optimizers_of(module) : std::vector<OptimizerSpec>()); });
  trains_ = train;
}

void Trainer::run(Stage stage, Module& module, DataModule& data, const std::function<void()>& body) {
  const ModuleInRun in_run(module, data, *this);
  const DataModuleInRun with_data(datamodule_, data);
  RunScope::Names names = names_of(module);
  const RunScope here(names, session_.progress().step);
  const NumericFlags flags(config_, stage);
  try {
    attach_hooks(module);
    prepare_data(data, session_.topology(), session_.communicator());
    call("setup", data, [&] { data.setup(stage); });
    hooks_.call("setup", &Hooks::setup, stage);
    prepare_model(stage, module);
    names = names_of(module);  // configure_model may have made more of it
    body();
    call("teardown", data, [&] { data.teardown(stage); });
    hooks_.call("teardown", &Hooks::teardown, stage);
  } catch (const CommunicatorAborted&) {
    throw;  // another rank's error, and that rank says it
  } catch (const std::exception& error) {
    const std::string message = explain(error);
    session_.communicator().abort(message);
    const ErrorPlaceKept kept;
    for (const auto& callback : run_callbacks_) call("on_exception", *callback, [&] { callback->on_exception(message); });
    call("on_exception", data, [&] { data.on_exception(message); });
    throw;
  }
}

void Trainer::transfer(Batch& batch, Module& module, DataModule& data) {
  call("on_before_batch_transfer", data, batch, [&] { data.on_before_batch_transfer(batch); });
  call("on_before_batch_transfer", module, batch, [&] { module.on_before_batch_transfer(batch); });
  call("transfer_batch_to_device", data, batch, [&] { data.transfer_batch_to_device(batch, session_); });
  call("on_after_batch_transfer", data, batch, [&] { data.on_after_batch_transfer(batch); });
  call("on_after_batch_transfer", module, batch, [&] { module.on_after_batch_transfer(batch); });
}

void Trainer::end_train_epoch(LogCollection& logs) {
  hooks_.call_others("on_train_epoch_end", &Hooks::on_train_epoch_end);
  log_metrics(logs.epoch_values(session_.mesh().data_communicator()));
  hooks_.call_monitors("on_train_epoch_end", &Hooks::on_train_epoch_end);
}

void Trainer::replace_optimizer(const std::optional<OptimizerConfig>& optimizer, const std::optional<LrSchedulerConfig>& lr_scheduler) {
  optimizer_ = optimizer;
  lr_scheduler_ = lr_scheduler;
}

std::vector<OptimizerSpec> Trainer::optimizers_of(Module& module) const {
  auto specs = call("configure_optimizers", module, [&] { return module.configure_optimizers(); });
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

void Trainer::finalize_loggers() {
  for (const auto& logger : loggers_) logger->finalize();
}

void Trainer::fit(Module& module, DataModule& data, const LoadFrom& from) {
  session_.forget_stop();
  report_.stop_reason.clear();  // a callback that stops the training says why
  report_.already_complete = false;
  run(Stage::fit, module, data, [&] { FitLoop(*this, module, data).run(from); });
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
    auto state = detail::state_of(*datamodule_);
    saved.load(state);
  }
  if (!from.checkpoint && from.init) session_.load_weights(*from.init);
}

NamedValues Trainer::evaluate(Stage stage, Module& module, DataModule& data, const LoadFrom& from) {
  NamedValues values;
  run(stage, module, data, [&] {
    load_weights(from);
    values = EvaluationLoop(*this, stage, module, data).run();
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
  run(Stage::predict, module, data, [&] {
    load_weights(from);
    EvaluationLoop loop(*this, Stage::predict, module, data);
    loop.run();
    predictions = loop.take_predictions();
  });
  if (session_.must_exit()) report_.stop_reason = "stopped early";
  return predictions;
}

std::unique_ptr<Loader> Trainer::make_loader(const DataLoaderSpec& spec, bool training) {
  if (!spec.has_data()) throw ConfigError("there are no data to fit", "override the data module's train_dataloader", "trainer");
  const auto& mesh = session_.mesh();
  const LoaderPlace place{.rank = mesh.data().index,
                          .world_size = mesh.data().size(),
                          .accumulate = config_.accumulate_grad_batches,  // in evaluation, too: a part of a global batch fits in memory
                          .seed = session_.seed()};
  DataLoaderOptions options = training ? spec.options : spec.options.for_evaluation();
  if (config_.overfit_batches.number() > 0) options.shuffle = false;
  if (spec.stream) return std::make_unique<StreamLoader>(spec.stream, options, place, mesh.data_communicator());
  return std::make_unique<DataLoader>(spec.dataset, options, place);
}

int64_t Trainer::allowed_batches(const Limit& limit, const Loader& loader, const char* option) {
  if (const auto length = loader.length()) {
    const int64_t batches = limit.of(*length);
    if (batches == 0 && limit.is_fraction() && limit.number() > 0)
      throw ConfigError(fmt::format("{} is {}, which is less than one of {} batches", option, limit.to_text(), *length),
                        fmt::format("give at least {:.3g}, or a number of batches", 1.0 / static_cast<double>(*length)), "trainer");
    return batches;
  }
  if (!limit.is_fraction()) return limit.of(unlimited);
  if (limit.number() != 0 && limit.number() != 1)
    throw ConfigError(fmt::format("{} is {} of data of unknown length", option, limit.to_text()), "give a number of batches, 0.0 or 1.0",
                      "trainer");
  return limit.number() == 0 ? 0 : unlimited;
}

NamedValues Trainer::progress_bar_values() const { return shown_ ? shown_->progress_bar() : NamedValues{}; }

void Trainer::log_hyperparams(const std::string& yaml) {
  if (session_.rank() != 0 || !config_.logger.enabled()) return;
  for (const auto& logger : loggers_) logger->log_hyperparams(yaml);
}

void Trainer::log_metrics(const NamedValues& values, std::optional<int64_t> step) {
  if (values.empty()) return;
  for (auto* kept : {&report_.metrics, &new_metrics_})
    for (const auto& [name, value] : values) {
      if (double* known = find_value(*kept, name))
        *known = value;
      else
        kept->emplace_back(name, value);
    }
  if (session_.rank() != 0 || !config_.logger.enabled()) return;
  const int64_t of = step.value_or(std::max<int64_t>(0, global_step() - 1));
  for (const auto& logger : loggers_) logger->log_metrics(values, current_epoch(), of);
}

}  // namespace levin
