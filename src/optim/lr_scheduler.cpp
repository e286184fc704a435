#include "levin/optim/lr_scheduler.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "levin/core/error.h"

namespace levin {
namespace {

// How long a schedule is: what it says itself, else the training.
double length_of(int64_t given, int64_t training, const char* schedule, const char* field) {
  const int64_t length = given > 0 ? given : training;
  if (length <= 0)
    throw ConfigError(fmt::format("a {} schedule does not know how long the training is", schedule),
                      fmt::format("set lr_scheduler.{}, or trainer.max_steps or trainer.max_epochs", field), "optim");
  return static_cast<double>(length);
}

// From `begin` to `end` along half a cosine.
double half_cosine(double begin, double end, double part) { return end + (begin - end) * (1 + std::cos(std::numbers::pi * part)) / 2; }

// lr after so many falls.
double fallen(double lr, double gamma, int64_t falls) { return lr * std::pow(gamma, static_cast<double>(falls)); }

// Each shape gets the count since the end of the warm-up, and the length of the training without it.
double shape(const ConstantLR&, double lr, int64_t, int64_t) { return lr; }

double shape(const CosineAnnealingLR& config, double lr, int64_t count, int64_t length) {
  const double period = length_of(config.T_max, length, "cosine", "T_max");
  return half_cosine(lr, config.eta_min, std::min(1.0, static_cast<double>(count) / period));
}

double shape(const StepLR& config, double lr, int64_t count, int64_t) { return fallen(lr, config.gamma, count / config.step_size); }

double shape(const MultiStepLR& config, double lr, int64_t count, int64_t) {
  const auto reached = [count](int64_t milestone) { return milestone <= count; };
  return fallen(lr, config.gamma, std::count_if(config.milestones.begin(), config.milestones.end(), reached));
}

double shape(const ExponentialLR& config, double lr, int64_t count, int64_t) { return fallen(lr, config.gamma, count); }

double shape(const PolynomialLR& config, double lr, int64_t count, int64_t length) {
  const double total = length_of(config.total_iters, length, "polynomial", "total_iters");
  return lr * std::pow(1 - std::min(1.0, static_cast<double>(count) / total), config.power);
}

double shape(const OneCycleLR& config, double lr, int64_t count, int64_t length) {
  const double total = length_of(config.total_steps, length, "one_cycle", "total_steps");
  const double first = lr / config.div_factor, last = first / config.final_div_factor;
  const double top = std::max(0.0, config.pct_start * total - 1), end = total - 1, now = std::min(static_cast<double>(count), end);
  if (now < top) return half_cosine(first, lr, now / top);
  return half_cosine(lr, last, end > top ? (now - top) / (end - top) : 1);
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
