#include "levin/optim/loss_scaler.h"

#include <cmath>

namespace levin {

LossScaler::LossScaler(const LossScaling& config) : config_(config), state_{.scale = config.init_scale} { check_config(config_); }

void LossScaler::update(bool overflow) noexcept {
  if (overflow) {
    state_ = {.scale = state_.scale * config_.backoff_factor};
  } else if (++state_.good_steps == config_.growth_interval) {
    const double grown = state_.scale * config_.growth_factor;
    state_ = {.scale = std::isfinite(static_cast<float>(grown)) ? grown : state_.scale};  // losses are fp32
  }
}

}  // namespace levin
