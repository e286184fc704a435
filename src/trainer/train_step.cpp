#include "train_step.h"

#include <string>
#include <utility>

#include "../session/part_timer.h"
#include "levin/core/error.h"
#include "levin/nn/sync_batch_norm.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/manual_optimization.h"
#include "run.h"
#include "run_guards.h"

namespace levin {
namespace {

// One optimizer or none, stepped after accumulate_grad_batches micro-batches.
class AutomaticStep : public TrainStep {
 public:
  AutomaticStep(Run& run, LogCollection& logs) : TrainStep(run, logs) {
    if (const auto& optimizers = session_.optimizers(); optimizers.size() > 1)
      throw UsageError("trainer", fmt::format("configure_optimizers gave {} optimizers", optimizers.size()),
                       "return false from automatic_optimization, and call optimize for each of them in training_step");
    else if (!optimizers.empty())
      optimizer_ = optimizers.front();
  }

  Tensor run(const Batch& batch, bool last) override {
    const detail::PartTimer timer(detail::TimePart::step);
    const auto& hooks = run_.hooks();
    Tensor loss;
    {
      const SyncBatchNorm::Scope synchronized(session_.sync_batch_norm(), module_, batch.padding());
      const PaddingGuard padding(module_, batch);  // checkpointed units compute again in the backward
      logs_.begin_batch(batch);
      loss = training_step(batch);
      if (micro_batch_ == 0) {
        hooks.call("on_before_zero_grad", &Hooks::on_before_zero_grad, std::string_view(optimizer_));
        session_.zero_grad();
      }
      hooks.call("on_before_backward", &Hooks::on_before_backward, loss);
      micro_batch_++;
      last |= micro_batch_ == run_.accumulate_grad_batches();
      if (last && !before_update_) session_.expect_step();
      call_hook("backward", module_, batch, [&] { session_.backward(loss, module_.weight_of(batch)); });
      hooks.call("on_after_backward", &Hooks::on_after_backward);
    }
    if (last && before_update_) before_update_();
    if (last) update();
    return loss;
  }

 private:
  void update() {
    micro_batch_ = 0;
    update_begun_ = true;
    before_exchange();
    if (!session_.reduce()) return;
    run_.hooks().call("on_before_optimizer_step", &Hooks::on_before_optimizer_step, std::string_view(optimizer_));
    if (optimizer_.empty()) {
      session_.update();  // of nothing: a training without an optimizer measures what the rest takes
    } else {
      const auto& clip = run_.config().session;
      call_hook("configure_gradient_clipping", module_,
                [&] { module_.configure_gradient_clipping(optimizer_, clip.gradient_clip_val, clip.gradient_clip_algorithm); });
      call_hook("optimizer_step", module_, [&] { module_.optimizer_step(optimizer_, [this] { session_.update(); }); });
    }
    count_step();
  }

  std::string optimizer_;
};

// training_step steps the optimizers.
class ManualStep : public TrainStep {
 public:
  ManualStep(Run& run, LogCollection& logs) : TrainStep(run, logs), optimization_(run, [this] { before_exchange(); }) {
    if (const auto batches = run.config().accumulate_grad_batches; batches > 1)
      throw ConfigError(fmt::format("accumulate_grad_batches is {}, and the model optimizes manually", batches),
                        "let training_step take a step every N batches", "trainer");
    if (run.schedules_accumulation())
      throw ConfigError("a gradient accumulation scheduler, and the model optimizes manually",
                        "leave it out, and let training_step take a step every N batches", "trainer");
  }

  Tensor run(const Batch& batch, bool /*last*/) override {
    const detail::PartTimer timer(detail::TimePart::step);
    const SyncBatchNorm::Scope synchronized(session_.sync_batch_norm(), module_, batch.padding());
    const PaddingGuard padding(module_, batch);
    logs_.begin_batch(batch);
    optimization_.begin(batch);
    const bool begun_before = std::exchange(update_begun_, true);
    Tensor loss = training_step(batch);
    micro_batch_++;
    if (!optimization_.stepped()) {
      update_begun_ = begun_before;
      return loss;
    }
    micro_batch_ = 0;
    count_step();
    return loss;
  }

 private:
  ManualOptimization optimization_;
};

}  // namespace

std::unique_ptr<TrainStep> TrainStep::make(Run& run, LogCollection& logs) {
  if (run.module().automatic_optimization()) return std::make_unique<AutomaticStep>(run, logs);
  return std::make_unique<ManualStep>(run, logs);
}

TrainStep::TrainStep(Run& run, LogCollection& logs) : run_(run), session_(run.session()), module_(run.module()), logs_(logs) {}

void TrainStep::begin() {
  if (micro_batch_ == 0) began_ = std::chrono::steady_clock::now();
  session_.seed_micro_batch(micro_batch_);
}

Tensor TrainStep::training_step(const Batch& batch) {
  return call_hook("training_step", module_, batch, [&] {
    const auto autocast = session_.autocast();
    return module_.training_step(batch);
  });
}

void TrainStep::count_step() {
  session_.count_step();
  run_.report().steps++;
}

void TrainStep::before_exchange() {
  if (before_exchange_) before_exchange_();
  constexpr std::chrono::milliseconds long_step{100};
  if (std::chrono::steady_clock::now() - began_ >= long_step) session_.request_late_agreement();
}

}  // namespace levin
