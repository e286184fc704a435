#include "evaluation_loop.h"

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>

#include "../data/stalled_loaders.h"
#include "../session/part_timer.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/trainer/module.h"
#include "profiler_list.h"
#include "run_guards.h"

namespace levin {

// The hooks of validate, test and predict.
struct EvaluationLoop::StageHooks {
  template <class... Parameters>
  struct HookPair {
    const char* name;
    void (Hooks::*hook)(Parameters...);
  };
  HookPair<> start, epoch_start, epoch_end, end;
  HookPair<const Batch&, int64_t> batch_start, batch_end;
  struct ModelHookPair {
    const char* name;
    void (Module::*hook)();
  };
  ModelHookPair model_eval, model_train;
  std::vector<DataLoaderSpec> (DataModule::*loaders)();
  Limit TrainerConfig::*limit;
  const char* limit_name;

  static const StageHooks& of(Stage stage) {
    static const StageHooks validation{{"on_validation_start", &Hooks::on_validation_start},
                                       {"on_validation_epoch_start", &Hooks::on_validation_epoch_start},
                                       {"on_validation_epoch_end", &Hooks::on_validation_epoch_end},
                                       {"on_validation_end", &Hooks::on_validation_end},
                                       {"on_validation_batch_start", &Hooks::on_validation_batch_start},
                                       {"on_validation_batch_end", &Hooks::on_validation_batch_end},
                                       {"on_validation_model_eval", &Module::on_validation_model_eval},
                                       {"on_validation_model_train", &Module::on_validation_model_train},
                                       &DataModule::val_dataloaders,
                                       &TrainerConfig::limit_val_batches,
                                       "limit_val_batches"};
    static const StageHooks test{{"on_test_start", &Hooks::on_test_start},
                                 {"on_test_epoch_start", &Hooks::on_test_epoch_start},
                                 {"on_test_epoch_end", &Hooks::on_test_epoch_end},
                                 {"on_test_end", &Hooks::on_test_end},
                                 {"on_test_batch_start", &Hooks::on_test_batch_start},
                                 {"on_test_batch_end", &Hooks::on_test_batch_end},
                                 {"on_test_model_eval", &Module::on_test_model_eval},
                                 {"on_test_model_train", &Module::on_test_model_train},
                                 &DataModule::test_dataloaders,
                                 &TrainerConfig::limit_test_batches,
                                 "limit_test_batches"};
    static const StageHooks predict{{"on_predict_start", &Hooks::on_predict_start},
                                    {"on_predict_epoch_start", &Hooks::on_predict_epoch_start},
                                    {"on_predict_epoch_end", &Hooks::on_predict_epoch_end},
                                    {"on_predict_end", &Hooks::on_predict_end},
                                    {"on_predict_batch_start", &Hooks::on_predict_batch_start},
                                    {},
                                    {"on_predict_model_eval", &Module::on_predict_model_eval},
                                    {},
                                    &DataModule::predict_dataloaders,
                                    &TrainerConfig::limit_predict_batches,
                                    "limit_predict_batches"};
    return stage == Stage::test ? test : stage == Stage::predict ? predict : validation;
  }
};

EvaluationLoop::EvaluationLoop(Run& run, Stage stage)
    : run_(run), session_(run.session()), module_(run.module()), stage_(stage), moments_(StageHooks::of(stage)), data_wait_(session_) {
  auto& data = run.data();
  const auto specs = call_hook("the dataloaders", data, [&] { return (data.*moments_.loaders)(); });
  const bool has_data = !specs.empty() && std::all_of(specs.begin(), specs.end(), [](const auto& spec) { return spec.has_data(); });
  if (!has_data && stage == Stage::fit && specs.size() <= 1) return;
  if (!has_data)
    throw ConfigError(fmt::format("no data to {}", stage_name(stage)), "override the data module's *_dataloader for it", "trainer");
  if (stage == Stage::predict && !run.config().use_distributed_sampler)
    throw ConfigError("use_distributed_sampler is false, and predictions are numbered over the data of all ranks",
                      "predict with use_distributed_sampler: true", "trainer");
  for (const auto& spec : specs) {
    auto loader = run.make_loader(spec, /*training=*/false);
    const int64_t batches = Run::allowed_batches(run.config().*moments_.limit, *loader, moments_.limit_name);
    sources_.push_back({std::move(loader), batches});
  }
}

EvaluationLoop::~EvaluationLoop() {
  if (!session_.must_exit()) return;
  for (auto& source : sources_) detail::end_loader(std::move(source.loader));
}

bool EvaluationLoop::has_batches() const noexcept {
  return std::any_of(sources_.begin(), sources_.end(), [](const auto& source) { return source.batches > 0; });
}

NamedValues EvaluationLoop::run(bool may_be_interrupted) { return pass(-1, /*log=*/true, may_be_interrupted); }

NamedValues EvaluationLoop::sanity_check(int64_t most) {
  auto values = pass(most, /*log=*/false, /*may_be_interrupted=*/true);
  logs_.clear();
  return values;
}

NamedValues EvaluationLoop::pass(int64_t most, bool log, bool may_be_interrupted) {
  may_be_interrupted_ = may_be_interrupted;
  const auto& hooks = run_.hooks();
  const auto allowed = [&](const Source& source) { return most < 0 ? source.batches : std::min(most, source.batches); };
  if (std::all_of(sources_.begin(), sources_.end(), [&](const auto& source) { return allowed(source) == 0; })) return {};
  const FlightRecord::Phase phase(session_.flight(), stage_ == Stage::fit ? "validation" : stage_name(stage_));
  const detail::PartTimer timer(detail::TimePart::validation);
  const at::NoGradGuard no_grad;
  std::optional<c10::InferenceMode> inference;
  if (run_.config().inference_mode) inference.emplace();
  EvaluationMode mode(module_);
  const LogTarget target(run_, logs_);
  predictions_.clear();
  session_.strategy().broadcast_buffers();

  call_hook(moments_.model_eval.name, module_, [&] { (module_.*moments_.model_eval.hook)(); });
  hooks.call(moments_.start.name, moments_.start.hook);
  hooks.call(moments_.epoch_start.name, moments_.epoch_start.hook);
  NamedValues values;
  interrupted_ = false;
  for (size_t i = 0; i < sources_.size() && !interrupted_; i++) {
    if (sources_.size() > 1) logs_.begin_dataloader(static_cast<int64_t>(i));
    run_source(i, allowed(sources_[i]));
    if (sources_.size() > 1) logs_.end_dataloader(session_.mesh().data_communicator(), values);
  }
  if (interrupted_) {
    logs_.discard();
    return {};
  }
  hooks.call(moments_.epoch_end.name, moments_.epoch_end.hook);
  for (auto& value : logs_.epoch_values(session_.mesh().data_communicator())) values.push_back(std::move(value));
  if (log) run_.logging().log_metrics(values);
  hooks.call(moments_.end.name, moments_.end.hook);
  mode.restore();
  if (moments_.model_train.hook) call_hook(moments_.model_train.name, module_, [&] { (module_.*moments_.model_train.hook)(); });
  return values;
}

void EvaluationLoop::run_source(size_t dataloader_idx, int64_t batches) {
  auto& loader = *sources_[dataloader_idx].loader;
  run_.begin_pass(batches);
  loader.set_epoch(0);
  if (interrupted_ = must_exit_before(0, batches, loader); interrupted_) return;
  for (int64_t batch_idx = 0; batch_idx < batches; batch_idx++) {
    if (auto* profilers = run_.profilers(); profilers && stage_ != Stage::fit) profilers->begin_step();
    Batch* batch = call_hook("reading the next batch", loader, [&] {
      interrupted_ = !data_wait_.wait(loader, 1);
      return interrupted_ ? nullptr : loader.next();
    });
    if (!batch) break;
    batch->set_dataloader_idx(static_cast<int64_t>(dataloader_idx));
    const PaddingGuard padding(module_, *batch);
    session_.seed_evaluation(static_cast<int64_t>(dataloader_idx), batch_idx);
    run_.transfer(*batch);
    step(*batch, batch_idx);
    run_.batch_progress().done++;
    session_.flight().advance();
    if (interrupted_ = must_exit_before(batch_idx + 1, batches, loader); interrupted_) return;
  }
}

bool EvaluationLoop::must_exit_before(int64_t batch_idx, int64_t batches, Loader& loader) {
  if (!may_be_interrupted_) return false;
  if (batch_idx == 0)
    data_wait_.announce_epoch(loader);
  else
    data_wait_.announce(loader, std::min<int64_t>(1, batches - batch_idx));
  session_.exchange_requests();
  data_wait_.note();
  return session_.must_exit();
}

void EvaluationLoop::step(const Batch& batch, int64_t batch_idx) {
  const auto& hooks = run_.hooks();
  hooks.call(moments_.batch_start.name, moments_.batch_start.hook, batch, batch_idx);
  logs_.begin_batch(batch);
  const auto in_autocast = [&](const char* name, auto step) {
    return call_hook(name, module_, batch, [&] {
      const auto autocast = session_.autocast();
      return (module_.*step)(batch);
    });
  };
  if (stage_ != Stage::predict) {
    if (stage_ == Stage::test)
      in_autocast("test_step", &Module::test_step);
    else
      in_autocast("validation_step", &Module::validation_step);
    hooks.call(moments_.batch_end.name, moments_.batch_end.hook, batch, batch_idx);
    return;
  }
  Tensor rows = in_autocast("predict_step", &Module::predict_step);
  if (!logs_.empty())
    throw UsageError("trainer", "predict_step logs a value, and a prediction has no metrics", "log in validation_step or test_step");
  hooks.call("on_predict_batch_end", &Hooks::on_predict_batch_end, rows, batch, batch_idx);
  if (!batch.padding() && run_.keeps_predictions()) predictions_.push_back({batch.indices(), std::move(rows), batch.dataloader_idx()});
}

}  // namespace levin
