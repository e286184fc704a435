#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/core/monitor_mode.h"
#include "levin/optim/lr_schedules.h"

namespace levin {

/// How `threshold` is meant: as a part of the best value, or in its units.
enum class ThresholdMode { rel, abs };
LEVIN_ENUM(ThresholdMode, (rel, "rel"), (abs, "abs"))

/// lr falls by a factor when a logged value has not become better for some time, as PyTorch's. The only schedule that remembers something:
/// see PlateauState.
struct ReduceLROnPlateau {
  std::string monitor = "val_loss";
  MonitorMode mode = MonitorMode::min;
  double factor = 0.1;
  int64_t patience = 10;
  double threshold = 1e-4;
  ThresholdMode threshold_mode = ThresholdMode::rel;
  int64_t cooldown = 0;
  double min_lr = 0;
  double eps = 1e-8;
  bool strict = true;
  Interval interval = Interval::epoch;
  int64_t frequency = 1;
};
LEVIN_CONFIG(ReduceLROnPlateau, (monitor, "logged value that decides"), (mode, "which values are better"),
             (factor, "factor of each reduction", greater_than(0), less_than(1)),
             (patience, "checks without improvement before lr is reduced", at_least(0)),
             (threshold, "a smaller change does not count as improvement", at_least(0)),
             (threshold_mode, "threshold is a part of the best value, or in its units"),
             (cooldown, "checks after a reduction that do not count", at_least(0)), (min_lr, "lower bound of lr", at_least(0)),
             (eps, "skip reductions smaller than this", at_least(0)), (strict, "a missing value is an error; false: skip the check"),
             (interval, "when to check"), (frequency, "steps or epochs between checks", at_least(1)))
LEVIN_CHOICE(ReduceLROnPlateau, "reduce_on_plateau", "plateau")

/// What a plateau schedule has seen. All ranks have the same, since they look at the same values.
struct PlateauState {
  std::optional<double> best = {};
  int64_t bad = 0;                     ///< looks since the last improvement
  int64_t cooldown = 0;                ///< looks that are left of it
  int64_t reductions = 0;              ///< falls so far
  std::optional<double> waiting = {};  ///< newest value that no look has seen yet
  bool operator==(const PlateauState&) const = default;
};

/// The state after a look at one more value.
PlateauState observe(const ReduceLROnPlateau& config, PlateauState state, double value);
/// `lr` after so many falls.
double reduced_lr(const ReduceLROnPlateau& config, double lr, int64_t reductions);

}  // namespace levin
