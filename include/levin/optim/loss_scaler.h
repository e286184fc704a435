#pragma once
#include <cstdint>

#include "levin/core/config.h"

namespace levin {

/// How the loss is scaled where gradients pass through fp16: the arguments and defaults of PyTorch's GradScaler.
struct LossScaling {
  double init_scale = 65536;
  double growth_factor = 2;
  double backoff_factor = 0.5;
  int64_t growth_interval = 2000;
};
LEVIN_CONFIG(LossScaling, (init_scale, "factor of the loss at the start of 16-mixed", greater_than(0)),
             (growth_factor, "of the scale, after growth_interval steps without an overflow", greater_than(1)),
             (backoff_factor, "of the scale, after an overflow", greater_than(0), less_than(1)),
             (growth_interval, "steps without an overflow until the scale grows", at_least(1)))

/// The scale of the loss from step to step. Pure arithmetic: equal inputs on all ranks give equal scales.
class LossScaler {
 public:
  struct State {
    double scale = 1;
    int64_t good_steps = 0;  ///< since the scale changed
    bool operator==(const State&) const = default;
  };
  explicit LossScaler(const LossScaling& config);

  double scale() const noexcept { return state_.scale; }
  /// After an optimizer's step: whether its gradients were not finite, so that it was skipped.
  void update(bool overflow) noexcept;

  const State& state() const noexcept { return state_; }
  void set_state(const State& state) noexcept { state_ = state; }

 private:
  LossScaling config_;
  State state_;
};

}  // namespace levin
