#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/core/monitor_mode.h"
#include "levin/optim/lr_schedules.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's arguments of EarlyStopping.
struct EarlyStoppingConfig {
  std::string monitor = "val_loss";
  double min_delta = 0;
  int64_t patience = 3;
  bool verbose = false;
  MonitorMode mode = MonitorMode::min;
  bool strict = true;
  bool check_finite = true;
  std::optional<double> stopping_threshold = {};
  std::optional<double> divergence_threshold = {};
  std::optional<bool> check_on_train_epoch_end = {};
};
LEVIN_CONFIG(EarlyStoppingConfig, (monitor, "logged metric that decides"),
             (min_delta, "a smaller or equal change does not count as improvement", at_least(0)),
             (patience, "checks without improvement until the training stops", at_least(0)),
             (verbose, "say when the metric has improved, and when it is missing"), (mode, "which values are better"),
             (strict, "a missing metric is an error; false: skip the check"), (check_finite, "stop when the metric is NaN or infinite"),
             (stopping_threshold, "stop when the metric is better than this"),
             (divergence_threshold, "stop when the metric is worse than this"),
             (check_on_train_epoch_end,
              "check at the end of a training epoch; false: after each validation; null: at the end of an epoch if validation runs once an "
              "epoch, or never"))
LEVIN_CHOICE(EarlyStoppingConfig, "early_stopping")

/// Why EarlyStopping stopped a training (Lightning's names).
enum class EarlyStoppingReason { not_stopped, stopping_threshold, divergence_threshold, patience_exhausted, non_finite_metric };

/// Stops the training when a metric no longer improves; the reason is in the run's report, too. The metric is that of all ranks, so all
/// of them decide alike, right after the check. Nothing is checked in a sanity check, a fast_dev_run, or after another stop request.
/// ConfigError for a metric that was not logged.
class EarlyStopping : public Callback {
 public:
  using Config = EarlyStoppingConfig;
  explicit EarlyStopping(EarlyStoppingConfig config = {});

  void setup(Stage stage) override;
  void on_train_start() override;
  void on_train_epoch_end() override;
  void on_validation_end() override;
  void on_train_end() override { training_ = false; }
  bool monitors() const noexcept override { return true; }
  std::vector<std::string> required_metrics() const override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;
  std::string stop_options() const override;
  /// With the metric: there may be several.
  std::string state_key() const override { return "EarlyStopping of " + config_.monitor; }

  double best_score() const noexcept { return best_; }
  /// Checks since the last improvement.
  int64_t wait_count() const noexcept { return waited_; }
  /// The epoch in which it stopped the training; 0 when it did not.
  int64_t stopped_epoch() const noexcept { return stopped_epoch_; }
  EarlyStoppingReason stopping_reason() const noexcept { return reason_; }
  /// The same in words; empty when it did not stop the training.
  const std::string& stopping_reason_message() const noexcept { return message_; }

 private:
  /// `newest`: whether a value logged by step and by epoch is that of the step or of the epoch.
  void check(Interval newest);
  /// The reason to stop at this value; empty: continue.
  std::string judge(double value);
  bool better(double value, double than) const noexcept;

  EarlyStoppingConfig config_;
  bool at_epoch_end_ = true;
  bool resumed_ = false;
  bool training_ = false;  // a sanity check, or an evaluation alone, decides nothing
  double best_ = 0;
  int64_t waited_ = 0, stopped_epoch_ = 0;
  EarlyStoppingReason reason_ = EarlyStoppingReason::not_stopped;
  std::string message_;
};

}  // namespace levin
