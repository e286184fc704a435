#include "levin/callbacks/ema_weight_averaging.h"

namespace levin {

EMAWeightAveraging::EMAWeightAveraging(const EMAWeightAveragingConfig& config)
    : WeightAveraging({.use_buffers = config.use_buffers}), config_(config) {
  check_config(config_);
}

bool EMAWeightAveraging::should_update(std::optional<int64_t> step_idx, std::optional<int64_t> epoch_idx) const {
  if (step_idx && config_.update_every_n_steps > 0 && *step_idx >= config_.update_starting_at_step.value_or(0) &&
      *step_idx % config_.update_every_n_steps == 0)
    return true;
  return epoch_idx && config_.update_starting_at_epoch && *epoch_idx >= *config_.update_starting_at_epoch;
}

// Equal values stay what they are.
void EMAWeightAveraging::average(Tensor& average, const Tensor& current, int64_t) const { average.lerp_(current, 1 - config_.decay); }

}  // namespace levin
