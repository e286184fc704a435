#pragma once
#include "levin/core/config.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

struct MeanSquaredErrorConfig {
  bool squared = true;
};
LEVIN_CONFIG(MeanSquaredErrorConfig, (squared, "false: the root of the mean"))

/// The mean of (prediction - target)² over all elements, or its root; NaN before the first. The sum is exact (ExactSum).
class MeanSquaredError : public PredictionMetric {
 public:
  using Config = MeanSquaredErrorConfig;
  explicit MeanSquaredError(const MeanSquaredErrorConfig& config = {});

  /// Of the same shape, whatever it is; squares are taken in float64.
  void update(const Tensor& predictions, const Tensor& targets) override;

  /// Float64, without dimensions.
  Tensor compute() const override;

 private:
  MeanSquaredErrorConfig config_;
  MetricState& sum_;
  MetricState& count_;
};

}  // namespace levin
