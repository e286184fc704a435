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
             (factor, "factor of a fall", greater_than(0), less_than(1)),
             (patience, "looks without improvement that are forgiven", at_least(0)),
             (threshold, "a smaller change is no improvement", at_least(0)),
             (threshold_mode, "threshold is a part of the best value, or in its units"),
             (cooldown, "looks after a fall in which none is counted as bad", at_least(0)), (min_lr, "lr falls no further", at_least(0)),
             (eps, "a smaller fall is left out", at_least(0)), (strict, "a value that was not logged is an error; else it is passed over"),
             (interval, "when to look"), (frequency, "steps or epochs between two looks", at_least(1)))
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
PlateauState look(const ReduceLROnPlateau& config, PlateauState state, double value);
/// `lr` after so many falls.
double reduced_lr(const ReduceLROnPlateau& config, double lr, int64_t reductions);

}  // namespace levin
