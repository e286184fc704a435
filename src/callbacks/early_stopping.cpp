#include "levin/callbacks/early_stopping.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "epoch_end_checks.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/session/monitored_value.h"
#include "levin/trainer/trainer.h"

namespace levin {

EarlyStopping::EarlyStopping(EarlyStoppingConfig config) : config_(std::move(config)) { check_config(config_); }

bool EarlyStopping::better(double value, double than) const noexcept {
  return config_.mode == MonitorMode::min ? value < than : value > than;
}

std::vector<std::string> EarlyStopping::required_metrics() const {
  return config_.strict ? std::vector<std::string>{config_.monitor} : std::vector<std::string>();
}

void EarlyStopping::setup(Stage) { training_ = false; }

void EarlyStopping::on_train_start() {
  at_epoch_end_ = detail::checks_at_epoch_end(trainer(), config_.check_on_train_epoch_end);
  training_ = trainer().config().fast_dev_run.batches == 0;
  if (std::exchange(resumed_, false)) return;
  waited_ = stopped_epoch_ = 0;
  best_ = std::numeric_limits<double>::infinity() * (config_.mode == MonitorMode::min ? 1 : -1);
  reason_ = EarlyStoppingReason::not_stopped;
  message_.clear();
}

StateDict EarlyStopping::state_dict() const {
  StateDict state;
  state.set("best_score", best_);
  state.set("wait_count", waited_);
  return state;
}

void EarlyStopping::load_state_dict(const StateDict& state) {
  best_ = state.get<double>("best_score");
  waited_ = state.get<int64_t>("wait_count");
  stopped_epoch_ = 0;
  reason_ = EarlyStoppingReason::not_stopped;
  message_.clear();
  resumed_ = true;
}

std::string EarlyStopping::stop_options() const {
  auto options = config_;
  options.verbose = false;
  std::string text;
  for (const auto& [name, value] : flatten(write_config(options))) text += fmt::format("{}={} ", name, value);
  return text;
}

// An epoch that max_steps cut short may lack the metric, and it has a stop reason already.
void EarlyStopping::on_train_epoch_end() {
  const int64_t max_steps = trainer().config().max_steps;
  const auto [done, total] = trainer().batch_progress();
  if (max_steps >= 0 && trainer().global_step() >= max_steps && done != total) return;
  if (at_epoch_end_) check(Interval::epoch);
}

void EarlyStopping::on_validation_end() {
  if (!at_epoch_end_) check(Interval::step);
}

void EarlyStopping::check(Interval newest) {
  if (!training_ || trainer().session().should_stop()) return;  // its end has a reason already
  auto& report = trainer().report();
  const auto& log = trainer().session().runtime().log();
  const double* value = find_monitored(report.metrics, config_.monitor, newest);
  if (!value) {
    const std::string known = names_of(report.metrics);
    const std::string message = fmt::format("early stopping monitors \"{}\", which was not logged", config_.monitor);
    const std::string remedy = known.empty() ? "log it in validation_step" : "monitor one of those that were: " + known;
    if (config_.strict) throw ConfigError(message, remedy, "callbacks");
    if (config_.verbose && trainer().session().rank() == 0) log.warning("[callbacks] {}; {}", message, remedy);
    return;
  }
  const double before = best_;
  message_ = judge(*value);
  if (config_.verbose && waited_ == 0 && message_.empty())
    log.info("[callbacks] early stopping: {} improved{} to {:.6g}", config_.monitor,
             std::isfinite(before) ? fmt::format(" from {:.6g}", before) : "", *value);
  if (message_.empty()) return;
  stopped_epoch_ = trainer().current_epoch();
  report.stop_reason = "early stopping: " + message_;
  trainer().session().stop(StopReason::requested);
}

std::string EarlyStopping::judge(double value) {
  const auto& name = config_.monitor;
  if (config_.check_finite && !std::isfinite(value)) {
    reason_ = EarlyStoppingReason::non_finite_metric;
    return fmt::format("{} is {}; the best was {:.6g}", name, value_text(value), best_);
  }
  if (const auto limit = config_.stopping_threshold; limit && better(value, *limit)) {
    reason_ = EarlyStoppingReason::stopping_threshold;
    return fmt::format("{} {:.6g} is better than the stopping_threshold {:.6g}", name, value, *limit);
  }
  if (const auto limit = config_.divergence_threshold; limit && better(*limit, value)) {
    reason_ = EarlyStoppingReason::divergence_threshold;
    return fmt::format("{} {:.6g} is worse than the divergence_threshold {:.6g}", name, value, *limit);
  }
  if (better(config_.mode == MonitorMode::min ? value + config_.min_delta : value - config_.min_delta, best_)) {
    best_ = value;
    waited_ = 0;
    return {};
  }
  if (++waited_ < config_.patience) return {};
  reason_ = EarlyStoppingReason::patience_exhausted;
  return fmt::format("{} has not improved in {} checks; the best was {:.6g}", name, waited_, best_);
}

}  // namespace levin
