#pragma once
#include <cstdint>
#include <variant>

#include "levin/core/config.h"

namespace levin {

/// What a schedule counts: optimizer steps or epochs (Lightning's `interval`).
enum class Interval { step, epoch };
LEVIN_ENUM(Interval, (step, "step"), (epoch, "epoch"))

/// A linear rise from start_factor * lr to lr over the first counts; every schedule can begin with one.
struct Warmup {
  int64_t warmup = 0;
  double warmup_start_factor = 0;
};
LEVIN_CONFIG(Warmup, (warmup, "steps or epochs of linear warm-up", at_least(0)),
             (warmup_start_factor, "part of lr that the warm-up starts from", between(0, 1)))

struct ConstantLR {
  Interval interval = Interval::step;
  Warmup warmup = {};
};
LEVIN_CONFIG(ConstantLR, (interval, "what is counted"), (warmup, "warm-up", flattened))
LEVIN_CHOICE(ConstantLR, "constant")

/// From lr to eta_min along half a cosine (Loshchilov and Hutter, "SGDR", 2017, without restarts).
struct CosineAnnealingLR {
  int64_t T_max = 0;
  double eta_min = 0;
  Interval interval = Interval::step;
  Warmup warmup = {};
};
LEVIN_CONFIG(CosineAnnealingLR, (T_max, "steps or epochs after the warm-up until eta_min; 0: the rest of the training", at_least(0)),
             (eta_min, "last learning rate", at_least(0)), (interval, "what is counted"), (warmup, "warm-up", flattened))
LEVIN_CHOICE(CosineAnnealingLR, "cosine")

/// lr * gamma^(count / step_size), the quotient rounded down.
struct StepLR {
  int64_t step_size = 1;
  double gamma = 0.1;
  Interval interval = Interval::epoch;
  Warmup warmup = {};
};
LEVIN_CONFIG(StepLR, (step_size, "steps or epochs between two falls", at_least(1)), (gamma, "factor of a fall", greater_than(0)),
             (interval, "what is counted"), (warmup, "warm-up", flattened))
LEVIN_CHOICE(StepLR, "step")

using LrSchedulerConfig = std::variant<ConstantLR, CosineAnnealingLR, StepLR>;

/// How far a training has come, and how long it will be (0: not known).
struct Progress {
  int64_t step = 0, total_steps = 0;
  int64_t epoch = 0, total_epochs = 0;
};

/// The learning rate of the next step for a parameter group whose own is `lr`. A closed form: nothing is remembered between steps.
/// ConfigError when a length is needed that is neither given nor known.
double scheduled_lr(const LrSchedulerConfig& config, double lr, const Progress& progress);

}  // namespace levin
