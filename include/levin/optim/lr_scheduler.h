#pragma once
#include <cstdint>
#include <variant>
#include <vector>

#include "levin/core/config.h"
#include "levin/optim/lr_schedules.h"
#include "levin/optim/reduce_lr_on_plateau.h"

namespace levin {

/// A schedule that can be part of a sequence.
using LrPhase = std::variant<ConstantLR, CosineAnnealingLR, StepLR, MultiStepLR, ExponentialLR, PolynomialLR, OneCycleLR>;

/// One schedule after another, each counting from its own start. All count in the same interval (steps or epochs), and so do the
/// milestones.
struct SequentialLR {
  std::vector<LrPhase> schedulers;
  std::vector<int64_t> milestones;
  void validate() const;
};
LEVIN_CONFIG(SequentialLR, (schedulers, "schedules in their order, as [{name: constant, warmup: 100, interval: step}, …]"),
             (milestones, "steps or epochs at which the second and each further one begin", at_least(1)))
LEVIN_CHOICE(SequentialLR, "sequential")

using LrSchedulerConfig = std::variant<ConstantLR, CosineAnnealingLR, StepLR, MultiStepLR, ExponentialLR, PolynomialLR, OneCycleLR,
                                       SequentialLR, ReduceLROnPlateau>;

/// The progress that a schedule counts.
Interval interval_of(const LrSchedulerConfig& config);

/// How far a training has come, and how long it will be (0: not known).
struct Progress {
  int64_t step = 0, total_steps = 0;
  int64_t epoch = 0, total_epochs = 0;
};

/// The learning rate of the next step for a parameter group whose own is `lr`. A closed form: but for a plateau's falls, nothing is
/// remembered between steps. ConfigError when a length that is neither given nor known is needed, now or after a warm-up or a milestone.
double scheduled_lr(const LrSchedulerConfig& config, double lr, const Progress& progress, const PlateauState& plateau = {});

}  // namespace levin
