#include "levin/optim/lr_scheduler.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "levin/core/error.h"

namespace levin {
namespace {

// The length that a schedule was given; 0: that of the training.
struct OwnLength {
  int64_t given;
  const char *schedule, *field;
};
OwnLength own_length(const CosineAnnealingLR& config) { return {config.T_max, "cosine", "T_max"}; }
OwnLength own_length(const PolynomialLR& config) { return {config.total_iters, "polynomial", "total_iters"}; }
OwnLength own_length(const OneCycleLR& config) { return {config.total_steps, "one_cycle", "total_steps"}; }

double length_of(const OwnLength& own, int64_t training) {
  const int64_t length = own.given > 0 ? own.given : training;
  if (length <= 0)
    throw ConfigError(fmt::format("a {} schedule does not know how long the training is", own.schedule),
                      fmt::format("set lr_scheduler.{}, or trainer.max_steps or trainer.max_epochs", own.field), "optim");
  return static_cast<double>(length);
}

template <class Schedule>
void check_length([[maybe_unused]] const Schedule& schedule, [[maybe_unused]] int64_t training) {
  if constexpr (requires { own_length(schedule); }) length_of(own_length(schedule), training);
}

// From `begin` to `end` along half a cosine.
double half_cosine(double begin, double end, double part) { return end + (begin - end) * (1 + std::cos(std::numbers::pi * part)) / 2; }

// lr after `falls` reductions.
double fallen(double lr, double gamma, int64_t falls) { return lr * std::pow(gamma, static_cast<double>(falls)); }

// Each shape gets the count since the end of the warm-up, and the length of the training without it.
double shape(const ConstantLR&, double lr, int64_t, int64_t) { return lr; }

double shape(const CosineAnnealingLR& config, double lr, int64_t count, int64_t length) {
  const double period = length_of(own_length(config), length);
  return half_cosine(lr, config.eta_min, std::min(1.0, static_cast<double>(count) / period));
}

double shape(const StepLR& config, double lr, int64_t count, int64_t) { return fallen(lr, config.gamma, count / config.step_size); }

double shape(const MultiStepLR& config, double lr, int64_t count, int64_t) {
  const auto reached = [count](int64_t milestone) { return milestone <= count; };
  return fallen(lr, config.gamma, std::count_if(config.milestones.begin(), config.milestones.end(), reached));
}

double shape(const ExponentialLR& config, double lr, int64_t count, int64_t) { return fallen(lr, config.gamma, count); }

double shape(const PolynomialLR& config, double lr, int64_t count, int64_t length) {
  const double total = length_of(own_length(config), length);
  return lr * std::pow(1 - std::min(1.0, static_cast<double>(count) / total), config.power);
}

double shape(const OneCycleLR& config, double lr, int64_t count, int64_t length) {
  const double total = length_of(own_length(config), length);
  const double first = lr / config.div_factor, last = first / config.final_div_factor;
  const double top = std::max(0.0, config.pct_start * total - 1), end = total - 1, now = std::min(static_cast<double>(count), end);
  if (now < top) return half_cosine(first, lr, now / top);
  return half_cosine(lr, last, end > top ? (now - top) / (end - top) : 1);
}

// Counts since the beginning of a schedule, and until its end (0: not known).
struct Count {
  int64_t now = 0, length = 0;
};

// What a schedule counts has come so far.
Count count_of(Interval interval, int64_t frequency, const Progress& progress) {
  const bool by_step = interval == Interval::step;
  const int64_t now = by_step ? progress.step : progress.epoch, length = by_step ? progress.total_steps : progress.total_epochs;
  return {now / frequency, length > 0 ? std::max<int64_t>(1, length / frequency) : 0};
}

// Of a known length, what is left of it after `begin`.
int64_t rest_of(int64_t length, int64_t begin) { return length > 0 ? std::max<int64_t>(1, length - begin) : 0; }

// A length that is missing is an error in the warm-up, too.
template <class Schedule>
double lr_at(const Schedule& schedule, double lr, const Count& count) {
  check_length(schedule, count.length);
  const auto& [warmup, start] = schedule.warmup;
  if (count.now < warmup) return lr * (start + (1 - start) * static_cast<double>(count.now + 1) / static_cast<double>(warmup + 1));
  return shape(schedule, lr, count.now - warmup, rest_of(count.length, warmup));
}

double lr_of(const SequentialLR& sequence, double lr, const Progress& progress) {
  const auto& milestones = sequence.milestones;
  std::visit([&](const auto& last) { check_length(last, count_of(last.interval, last.frequency, progress).length); },
             sequence.schedulers.back());
  const auto current = static_cast<size_t>(std::visit(
      [&](const auto& first) {
        const int64_t now = count_of(first.interval, first.frequency, progress).now;
        return std::upper_bound(milestones.begin(), milestones.end(), now) - milestones.begin();
      },
      sequence.schedulers.front()));
  return std::visit(
      [&](const auto& schedule) {
        Count count = count_of(schedule.interval, schedule.frequency, progress);
        if (current < milestones.size()) count.length = milestones[current];
        if (current > 0) count = {count.now - milestones[current - 1], rest_of(count.length, milestones[current - 1])};
        return lr_at(schedule, lr, count);
      },
      sequence.schedulers[current]);
}

}  // namespace

void SequentialLR::validate() const {
  if (schedulers.size() != milestones.size() + 1)
    throw ConfigError(fmt::format("a sequence of {} schedules with {} milestones", schedulers.size(), milestones.size()),
                      "set a milestone for each schedule but the first", "optim");
  for (size_t i = 1; i < milestones.size(); i++)
    if (milestones[i] <= milestones[i - 1])
      throw ConfigError(fmt::format("milestone {} of a sequence of schedules follows {}", milestones[i], milestones[i - 1]),
                        "list them in increasing order", "optim");
  const auto counts = [](const LrPhase& phase) {
    return std::visit([](const auto& schedule) { return std::pair(schedule.interval, schedule.frequency); }, phase);
  };
  for (size_t i = 1; i < schedulers.size(); i++)
    if (const auto first = counts(schedulers[0]), other = counts(schedulers[i]); other != first)
      throw ConfigError(
          fmt::format("schedules of a sequence count differently: schedulers[0] every {} {}(s), schedulers[{}] every {} {}(s)",
                      first.second, enum_name(first.first), i, other.second, enum_name(other.first)),
          "use the same interval and frequency for all", "optim");
}

Interval interval_of(const LrSchedulerConfig& config) {
  return std::visit(
      []<class Schedule>(const Schedule& schedule) {
        if constexpr (std::is_same_v<Schedule, SequentialLR>)
          return std::visit([](const auto& first) { return first.interval; }, schedule.schedulers.front());
        else
          return schedule.interval;
      },
      config);
}

double scheduled_lr(const LrSchedulerConfig& config, double lr, const Progress& progress, const PlateauState& plateau) {
  return std::visit(
      [&]<class Schedule>(const Schedule& schedule) {
        if constexpr (std::is_same_v<Schedule, ReduceLROnPlateau>)
          return reduced_lr(schedule, lr, plateau.reductions);
        else if constexpr (std::is_same_v<Schedule, SequentialLR>)
          return lr_of(schedule, lr, progress);
        else
          return lr_at(schedule, lr, count_of(schedule.interval, schedule.frequency, progress));
      },
      config);
}

}  // namespace levin
