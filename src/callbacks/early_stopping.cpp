#include "levin/callbacks/early_stopping.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin {

EarlyStopping::EarlyStopping(EarlyStoppingConfig config) : config_(std::move(config)) { check_config(config_); }

bool EarlyStopping::better(double value, double than) const noexcept {
  return config_.mode == MonitorMode::min ? value < than : value > than;
}

void EarlyStopping::on_train_start() {
  training_ = true;
  waited_ = 0;
  best_ = std::numeric_limits<double>::infinity() * (config_.mode == MonitorMode::min ? 1 : -1);
}

void EarlyStopping::on_validation_end() {
  if (!training_) return;
  auto& metrics = trainer().report().metrics;
  const double* value = find_value(metrics, config_.monitor);
  if (!value) {
    if (!config_.strict) return;
    std::string known;
    for (const auto& metric : metrics) known += (known.empty() ? "" : ", ") + metric.first;
    throw ConfigError(fmt::format("early stopping monitors \"{}\", which was not logged", config_.monitor),
                      known.empty() ? "log it in validation_step" : "monitor one of those that were: " + known, "callbacks");
  }
  const std::string reason = judge(*value);
  if (reason.empty()) return;
  trainer().report().stop_reason = "early stopping: " + reason;
  trainer().session().stop(StopReason::requested);
}

std::string EarlyStopping::judge(double value) {
  const auto& [monitor, min_delta, patience, mode, strict, check_finite, stopping, divergence] = config_;
  if (check_finite && !std::isfinite(value)) return fmt::format("{} is {}; the best was {:.6g}", monitor, value, best_);
  if (stopping && better(value, *stopping))
    return fmt::format("{} {:.6g} has reached the stopping_threshold {:.6g}", monitor, value, *stopping);
  if (divergence && better(*divergence, value))
    return fmt::format("{} {:.6g} is beyond the divergence_threshold {:.6g}", monitor, value, *divergence);
  if (better(mode == MonitorMode::min ? value + min_delta : value - min_delta, best_)) {
    best_ = value;
    waited_ = 0;
    return {};
  }
  if (++waited_ < patience) return {};
  return fmt::format("{} has not improved in {} validations; the best was {:.6g}", monitor, waited_, best_);
}

}  // namespace levin
