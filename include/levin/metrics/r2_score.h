#pragma once
#include <cstdint>

#include "levin/core/config.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

/// How the values of several outputs become one: their mean; their mean weighted by the outputs' variances; raw_values keeps them all.
enum class OutputAverage { uniform_average, variance_weighted, raw_values };
LEVIN_ENUM(OutputAverage, (uniform_average, "uniform_average"), (variance_weighted, "variance_weighted"), (raw_values, "raw_values"))

struct R2ScoreConfig {
  int64_t num_outputs = 1;
  OutputAverage multioutput = OutputAverage::uniform_average;
  int64_t adjusted = 0;
};
LEVIN_CONFIG(R2ScoreConfig, (num_outputs, "number of outputs", at_least(1)), (multioutput, "reduction over outputs"),
             (adjusted, "number of independent regressors of the adjusted score; 0: not adjusted", at_least(0)))

/// The coefficient of determination: 1 - (sum of squared residuals) / (sum of squared deviations of the targets from their mean). NaN with
/// fewer than two samples. Constant targets give 1 where all predictions are right, else 0. All sums are exact (ExactSum), and so the mean
/// of the targets may be large against their deviations.
class R2Score : public PredictionMetric {
 public:
  using Config = R2ScoreConfig;
  explicit R2Score(const R2ScoreConfig& config = {});

  /// [n, num_outputs], or [n] for one output.
  void update(const Tensor& predictions, const Tensor& targets) override;

  /// Float64: without dimensions, or [num_outputs] for raw_values.
  Tensor compute() const override;

 private:
  R2ScoreConfig config_;
  MetricState& residuals_;
  MetricState& targets_;
  MetricState& squares_;
  MetricState& count_;
};

}  // namespace levin
