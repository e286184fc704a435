#pragma once
#include <cstdint>
#include <vector>

#include "levin/core/config.h"

namespace levin {

/// The unit that a schedule counts in: optimizer steps or epochs (Lightning's `interval`).
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
  int64_t frequency = 1;
  Warmup warmup = {};
};
LEVIN_CONFIG(ConstantLR, (interval, "what is counted"), (frequency, "steps or epochs that count as one", at_least(1)),
             (warmup, "warm-up", flattened))
LEVIN_CHOICE(ConstantLR, "constant")

/// From lr to eta_min along half a cosine (Loshchilov and Hutter, "SGDR", 2017, without restarts).
struct CosineAnnealingLR {
  int64_t T_max = 0;
  double eta_min = 0;
  Interval interval = Interval::step;
  int64_t frequency = 1;
  Warmup warmup = {};
};
LEVIN_CONFIG(CosineAnnealingLR, (T_max, "steps or epochs after the warm-up until eta_min; 0: the rest of the training", at_least(0)),
             (eta_min, "last learning rate", at_least(0)), (interval, "what is counted"),
             (frequency, "steps or epochs that count as one", at_least(1)), (warmup, "warm-up", flattened))
LEVIN_CHOICE(CosineAnnealingLR, "cosine")

/// lr * gamma^(count / step_size), the quotient rounded down.
struct StepLR {
  int64_t step_size = 1;
  double gamma = 0.1;
  Interval interval = Interval::epoch;
  int64_t frequency = 1;
  Warmup warmup = {};
};
LEVIN_CONFIG(StepLR, (step_size, "steps or epochs between two falls", at_least(1)), (gamma, "factor of a fall", greater_than(0)),
             (interval, "what is counted"), (frequency, "steps or epochs that count as one", at_least(1)), (warmup, "warm-up", flattened))
LEVIN_CHOICE(StepLR, "step")

/// lr * gamma^(number of milestones that are reached).
struct MultiStepLR {
  std::vector<int64_t> milestones;
  double gamma = 0.1;
  Interval interval = Interval::epoch;
  int64_t frequency = 1;
  Warmup warmup = {};
};
LEVIN_CONFIG(MultiStepLR, (milestones, "steps or epochs, after the warm-up, at which lr falls"),
             (gamma, "factor of a fall", greater_than(0)), (interval, "what is counted"),
             (frequency, "steps or epochs that count as one", at_least(1)), (warmup, "warm-up", flattened))
LEVIN_CHOICE(MultiStepLR, "multi_step")

/// lr * gamma^count.
struct ExponentialLR {
  double gamma = 0.95;
  Interval interval = Interval::epoch;
  int64_t frequency = 1;
  Warmup warmup = {};
};
LEVIN_CONFIG(ExponentialLR, (gamma, "factor of each step or epoch", greater_than(0)), (interval, "what is counted"),
             (frequency, "steps or epochs that count as one", at_least(1)), (warmup, "warm-up", flattened))
LEVIN_CHOICE(ExponentialLR, "exponential")

/// lr * (1 - count / total_iters)^power, then 0.
struct PolynomialLR {
  int64_t total_iters = 0;
  double power = 1;
  Interval interval = Interval::step;
  int64_t frequency = 1;
  Warmup warmup = {};
};
LEVIN_CONFIG(PolynomialLR, (total_iters, "steps or epochs after the warm-up until 0; 0: the rest of the training", at_least(0)),
             (power, "1 falls linearly", greater_than(0)), (interval, "what is counted"),
             (frequency, "steps or epochs that count as one", at_least(1)), (warmup, "warm-up", flattened))
LEVIN_CHOICE(PolynomialLR, "polynomial")

/// Up to lr and down again along two half cosines (Smith and Topin, "Super-Convergence", 2018), as PyTorch's with lr as max_lr. It has
/// its own rise, so it takes no warm-up.
struct OneCycleLR {
  int64_t total_steps = 0;
  double pct_start = 0.3;
  double div_factor = 25;
  double final_div_factor = 1e4;
  Interval interval = Interval::step;
  int64_t frequency = 1;
  static constexpr Warmup warmup = {};
};
LEVIN_CONFIG(OneCycleLR, (total_steps, "steps or epochs of the cycle; 0: the whole training", at_least(0)),
             (pct_start, "part of the cycle in which lr rises", greater_than(0), less_than(1)),
             (div_factor, "lr over the first learning rate", at_least(1)),
             (final_div_factor, "the first learning rate over the last", at_least(1)), (interval, "what is counted"),
             (frequency, "steps or epochs that count as one", at_least(1)))
LEVIN_CHOICE(OneCycleLR, "one_cycle")

}  // namespace levin
