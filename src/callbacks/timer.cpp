#include "levin/callbacks/timer.h"

#include <fmt/format.h>

#include "levin/comm/host_values.h"
#include "levin/trainer/trainer.h"

namespace levin {

Timer::Timer(TimerConfig config) : config_(config) { check_config(config_); }

Seconds Timer::time_elapsed(Stage stage) const {
  const auto& span = spans_[index(stage)];
  if (!span.start) return {};
  return {std::chrono::duration<double>(span.end.value_or(Clock::now()) - *span.start).count() + (stage == Stage::fit ? spent_ : 0)};
}

StateDict Timer::state_dict() const {
  StateDict state;
  state.set("time_elapsed", time_elapsed().value);
  return state;
}

std::optional<Seconds> Timer::time_remaining(Stage stage) const {
  if (!config_.duration) return std::nullopt;
  return Seconds{config_.duration->value - time_elapsed(stage).value};
}

void Timer::on_train_start() {
  start(Stage::fit);
  if (!config_.duration || spent_ < config_.duration->value) return;
  trainer().session().stop(StopReason::timer);
  log_stop();
}

std::string Timer::stop_options() const {
  return fmt::format("{} {}", config_.duration ? config_.duration->to_text() : "null",
                     config_.interval == Interval::step ? "step" : "epoch");
}

// The wish travels with the step that begins here, so all ranks stop after it.
void Timer::on_train_batch_start(const Batch&, int64_t) {
  if (config_.interval == Interval::step && over()) trainer().session().request_stop(StopReason::timer);
}

void Timer::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  if (config_.interval == Interval::step && config_.duration && trainer().session().stops_for(StopReason::timer)) log_stop();
}

void Timer::on_train_epoch_end() {
  if (config_.interval != Interval::epoch || !config_.duration) return;
  auto& session = trainer().session();
  if (!broadcast_value(session.communicator(), over())) return;
  session.stop(StopReason::timer);
  log_stop();
}

void Timer::log_stop() {
  auto& reason = trainer().report().stop_reason;
  if (!reason.empty()) return;
  reason = fmt::format("timer: {} are over", config_.duration->to_text());
  if (config_.verbose)
    trainer().session().runtime().log().info("[callbacks] {}, the training stops after {:.4g} s", reason, time_elapsed().value);
}

}  // namespace levin
