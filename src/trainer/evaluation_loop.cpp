#include "levin/trainer/evaluation_loop.h"

#include <c10/core/GradMode.h>

#include <algorithm>

#include "levin/core/error.h"
#include "run_guards.h"

namespace levin {

struct EvaluationLoop::StageHooks {
  using Moment = void (Hooks::*)();
  using BatchMoment = void (Hooks::*)(const Batch&, int64_t);
  Moment start, epoch_start, epoch_end, end;
  BatchMoment batch_start, batch_end;

  static const StageHooks& of(Stage stage) {
    static const StageHooks validation{&Hooks::on_validation_start, &Hooks::on_validation_epoch_start, &Hooks::on_validation_epoch_end,
                                       &Hooks::on_validation_end,   &Hooks::on_validation_batch_start, &Hooks::on_validation_batch_end};
    static const StageHooks test{&Hooks::on_test_start, &Hooks::on_test_epoch_start, &Hooks::on_test_epoch_end,
                                 &Hooks::on_test_end,   &Hooks::on_test_batch_start, &Hooks::on_test_batch_end};
    static const StageHooks predict{&Hooks::on_predict_start, &Hooks::on_predict_epoch_start, &Hooks::on_predict_epoch_end,
                                    &Hooks::on_predict_end,   &Hooks::on_predict_batch_start, nullptr};
    return stage == Stage::test ? test : stage == Stage::predict ? predict : validation;
  }
};

EvaluationLoop::EvaluationLoop(Trainer& trainer, Stage stage, Module& module, DataModule& data)
    : trainer_(trainer), stage_(stage), module_(module), hooks_(StageHooks::of(stage)) {
  const auto& config = trainer.config();
  const DataLoaderSpec spec = stage == Stage::test      ? data.test_dataloader()
                              : stage == Stage::predict ? data.predict_dataloader()
                                                        : data.val_dataloader();
  const auto [limit, option] = stage == Stage::test      ? std::pair(config.limit_test_batches, "limit_test_batches")
                               : stage == Stage::predict ? std::pair(config.limit_predict_batches, "limit_predict_batches")
                                                         : std::pair(config.limit_val_batches, "limit_val_batches");
  if (!spec.has_data()) {
    if (stage == Stage::fit) return;
    throw ConfigError(fmt::format("there are no data to {}", stage_name(stage)), "override the data module's *_dataloader for it",
                      "trainer");
  }
  loader_ = trainer.make_loader(spec, /*training=*/false);
  batches_ = Trainer::allowed_batches(limit, *loader_, option);
}

NamedValues EvaluationLoop::run() {
  NamedValues values;
  pass(batches_, [&] {
    values = logs_.epoch_values(trainer_.session().communicator());
    trainer_.log_metrics(values);
  });
  return values;
}

void EvaluationLoop::sanity_check(int64_t most) {
  pass(most < 0 ? batches_ : std::min(most, batches_), [&] { logs_.epoch_values(trainer_.session().communicator()); });
  logs_.clear();
}

void EvaluationLoop::pass(int64_t batches, const std::function<void()>& at_the_end) {
  const auto& hooks = trainer_.hooks();
  if (batches == 0) return;
  const at::NoGradGuard no_grad;
  const EvaluationMode mode(module_);
  const LogTarget target(trainer_, module_, logs_);
  predictions_.clear();
  trainer_.session().strategy().broadcast_buffers();
  trainer_.batch_progress() = {0, batches == Trainer::unlimited ? 0 : batches};

  hooks.call(hooks_.start);
  hooks.call(hooks_.epoch_start);
  loader_->set_epoch(0);
  for (int64_t batch_idx = 0; batch_idx < batches; batch_idx++) {
    Batch* batch = loader_->next();
    if (!batch) break;
    trainer_.session().receive(*batch);
    step(*batch, batch_idx);
    trainer_.batch_progress().done++;
  }
  hooks.call(hooks_.epoch_end);
  at_the_end();
  hooks.call(hooks_.end);
}

void EvaluationLoop::step(const Batch& batch, int64_t batch_idx) {
  const auto& hooks = trainer_.hooks();
  const FillerGuard filler(module_, batch);
  hooks.call(hooks_.batch_start, batch, batch_idx);
  logs_.begin_batch(batch);
  if (stage_ == Stage::predict) {
    Tensor rows = module_.predict_step(batch);
    hooks.call(&Hooks::on_predict_batch_end, rows, batch, batch_idx);
    if (!batch.filler()) predictions_.push_back({batch.indices(), std::move(rows)});
    return;
  }
  stage_ == Stage::test ? module_.test_step(batch) : module_.validation_step(batch);
  hooks.call(hooks_.batch_end, batch, batch_idx);
}

}  // namespace levin
