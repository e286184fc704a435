#include "levin/optim/lr_scheduler.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "levin/core/error.h"

namespace levin {
namespace {

// Each shape gets the count since the end of the warm-up, and the length of the training without it.
double shape(const ConstantLR&, double lr, int64_t, int64_t) { return lr; }

double shape(const CosineAnnealingLR& config, double lr, int64_t count, int64_t length) {
  const int64_t period = config.T_max > 0 ? config.T_max : length;
  if (period <= 0)
    throw ConfigError("a cosine schedule does not know how long the training is",
                      "set lr_scheduler.T_max, or trainer.max_steps or trainer.max_epochs", "optim");
  const double part = std::min(1.0, static_cast<double>(count) / static_cast<double>(period));
  return config.eta_min + (lr - config.eta_min) * (1 + std::cos(std::numbers::pi * part)) / 2;
}

double shape(const StepLR& config, double lr, int64_t count, int64_t) {
  return lr * std::pow(config.gamma, static_cast<double>(count / config.step_size));
}

}  // namespace

double scheduled_lr(const LrSchedulerConfig& config, double lr, const Progress& progress) {
  return std::visit(
      [&](const auto& schedule) {
        const bool by_step = schedule.interval == Interval::step;
        const int64_t count = by_step ? progress.step : progress.epoch, length = by_step ? progress.total_steps : progress.total_epochs;
        const auto& [warmup, start] = schedule.warmup;
        if (count < warmup) return lr * (start + (1 - start) * static_cast<double>(count + 1) / static_cast<double>(warmup + 1));
        return shape(schedule, lr, count - warmup, length - warmup);
      },
      config);
}

}  // namespace levin
