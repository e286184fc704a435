#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's argument of GradientAccumulationScheduler.
struct GradientAccumulationSchedulerConfig {
  std::map<std::string, int64_t> scheduling = {};

  void validate() const;
};
LEVIN_CONFIG(GradientAccumulationSchedulerConfig,
             (scheduling, "micro-batches of a step from an epoch on, {0: 8, 4: 2}; before the first epoch given: 1", at_least(1)))
LEVIN_CHOICE(GradientAccumulationSchedulerConfig, "gradient_accumulation_scheduler")

/// Changes accumulate_grad_batches at the beginning of epochs. With a batch_size more samples make a step, with a global_batch_size a step
/// keeps its samples and is cut into more micro-batches. ConfigError if trainer.accumulate_grad_batches is set, too, or the model optimizes
/// manually.
class GradientAccumulationScheduler : public Callback {
 public:
  using Config = GradientAccumulationSchedulerConfig;
  explicit GradientAccumulationScheduler(const GradientAccumulationSchedulerConfig& config);

  void setup(Stage stage) override;
  std::optional<int64_t> accumulate_grad_batches(int64_t epoch) const override;

 private:
  std::map<int64_t, int64_t> batches_from_;  // by epoch
};

}  // namespace levin
