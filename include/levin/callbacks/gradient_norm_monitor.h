#pragma once
#include <string_view>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Arguments of Lightning's grad_norm, as a callback.
struct GradientNormMonitorConfig {
  double norm_type = 2;
  bool per_parameter = false;
};
LEVIN_CONFIG(GradientNormMonitorConfig, (norm_type, "p of the norm; .inf: the largest absolute value", greater_than(0), infinite_allowed),
             (per_parameter, "log the norm of each parameter's gradient, too"))
LEVIN_CHOICE(GradientNormMonitorConfig, "gradient_norm_monitor")

/// Logs the norm of the mean gradient over all ranks before clipping, every log_every_n_steps steps, under Lightning's names:
/// grad_2.0_norm_total and, per parameter, grad_2.0_norm/NAME; with several optimizers grad_2.0_norm_total/OPTIMIZER. Right under every
/// strategy. Each time costs a pass over the gradients and an all-reduce of a number or two per parameter. ConfigError where nothing is
/// logged.
class GradientNormMonitor : public Callback {
 public:
  using Config = GradientNormMonitorConfig;
  explicit GradientNormMonitor(const GradientNormMonitorConfig& config = {});

  void on_train_start() override;
  void on_before_optimizer_step(std::string_view optimizer) override;

 private:
  GradientNormMonitorConfig config_;
};

}  // namespace levin
