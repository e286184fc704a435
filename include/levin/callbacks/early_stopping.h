#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/core/monitor_mode.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's arguments of EarlyStopping.
struct EarlyStoppingConfig {
  std::string monitor = "val_loss";
  double min_delta = 0;
  int64_t patience = 3;
  MonitorMode mode = MonitorMode::min;
  bool strict = true;
  bool check_finite = true;
  std::optional<double> stopping_threshold = {};
  std::optional<double> divergence_threshold = {};
};
LEVIN_CONFIG(EarlyStoppingConfig, (monitor, "metric that validation logs"), (min_delta, "a smaller change is no improvement", at_least(0)),
             (patience, "validations without improvement until the training stops", at_least(1)), (mode, "which values are better"),
             (strict, "a metric that validation does not log is an error; else it is passed over"),
             (check_finite, "stop when the metric is NaN or infinite"), (stopping_threshold, "stop when the metric is better than this"),
             (divergence_threshold, "stop when the metric is worse than this"))

/// Stops the training when a metric of the validation no longer improves; the reason is in the run's report. The metric is that of all
/// ranks, so all of them decide alike, and stop right after that validation. ConfigError for a metric that is not logged.
class EarlyStopping : public Callback {
 public:
  explicit EarlyStopping(EarlyStoppingConfig config = {});

  void on_train_start() override;
  void on_validation_end() override;
  void on_train_end() override { training_ = false; }

  double best_score() const noexcept { return best_; }
  /// Validations since the last improvement.
  int64_t wait_count() const noexcept { return waited_; }

 private:
  /// Why to stop at this value; empty: go on.
  std::string judge(double value);
  bool better(double value, double than) const noexcept;

  EarlyStoppingConfig config_;
  bool training_ = false;  // a sanity check, or an evaluation alone, decides nothing
  double best_ = 0;
  int64_t waited_ = 0;
};

}  // namespace levin
