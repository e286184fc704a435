#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/core/config.h"
#include "levin/optim/lr_schedules.h"
#include "levin/session/optimizer_values.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's arguments of LearningRateMonitor.
struct LearningRateMonitorConfig {
  std::optional<Interval> logging_interval = {};
  bool log_momentum = false;
  bool log_weight_decay = false;
};
LEVIN_CONFIG(LearningRateMonitorConfig,
             (logging_interval, "log at every step that is logged, or every epoch; null: as each schedule counts"),
             (log_momentum, "log the momentum, or beta1, too"), (log_weight_decay, "log the weight decay, too"))
LEVIN_CHOICE(LearningRateMonitorConfig, "learning_rate_monitor", "lr_monitor")

/// Logs the learning rates of the coming step, under Lightning's names: lr-AdamW, with lr-AdamW-momentum and lr-AdamW-weight_decay; a
/// second AdamW is lr-AdamW-1, groups of parameters with options of their own are lr-AdamW/pg1, lr-AdamW/pg2, in the order of their first
/// parameters. Momentum is 0 where an optimizer has none; those of an optimizer of LibTorch's are not known and not logged.
/// ConfigError where nothing is to be logged.
class LearningRateMonitor : public Callback {
 public:
  using Config = LearningRateMonitorConfig;
  explicit LearningRateMonitor(LearningRateMonitorConfig config = {}) : config_(config) {}

  /// The names of the optimizers, in their order.
  static std::vector<std::string> names(const std::vector<OptimizerValues>& optimizers);

  void on_train_start() override;
  void on_train_epoch_start() override;
  void on_train_batch_start(const Batch& batch, int64_t batch_idx) override;

 private:
  void log(Interval due);

  LearningRateMonitorConfig config_;
  int64_t last_step_ = -1;  // an accumulation is logged once
};

}  // namespace levin
