#pragma once
#include <cstdint>
#include <optional>

#include "levin/callbacks/weight_averaging.h"

namespace levin {

/// Lightning's arguments of EMAWeightAveraging.
struct EMAWeightAveragingConfig {
  bool use_buffers = true;
  double decay = 0.999;
  int64_t update_every_n_steps = 1;
  std::optional<int64_t> update_starting_at_step = {};
  std::optional<int64_t> update_starting_at_epoch = {};
};
LEVIN_CONFIG(EMAWeightAveragingConfig, (use_buffers, "average floating-point buffers, too; false: take those of the last update"),
             (decay, "part of the average that an update keeps", between(0, 1)),
             (update_every_n_steps, "steps between two updates; 0: none after steps", at_least(0)),
             (update_starting_at_step, "first step, from 0 on, after which it is updated; null: 0", at_least(0)),
             (update_starting_at_epoch, "update after this epoch, from 0 on, and each later one, too; null: not after epochs", at_least(0)))
LEVIN_CHOICE(EMAWeightAveragingConfig, "ema_weight_averaging", "ema")

/// The exponential moving average of the parameters: average = decay * average + (1 - decay) * current. See WeightAveraging. In 16-bit
/// precisions without fp32 parameters (bf16-true) a decay near 1 rounds most updates away.
class EMAWeightAveraging : public WeightAveraging {
 public:
  using Config = EMAWeightAveragingConfig;
  explicit EMAWeightAveraging(const EMAWeightAveragingConfig& config = {});

 protected:
  bool should_update(std::optional<int64_t> step_idx, std::optional<int64_t> epoch_idx) const override;
  void average(Tensor& average, const Tensor& current, int64_t n_averaged) const override;

 private:
  EMAWeightAveragingConfig config_;
};

}  // namespace levin
