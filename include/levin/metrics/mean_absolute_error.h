#pragma once
#include "levin/metrics/prediction_metric.h"

namespace levin {

/// The mean of |prediction - target| over all elements; NaN before the first. The sum is exact (ExactSum).
class MeanAbsoluteError : public PredictionMetric {
 public:
  MeanAbsoluteError();

  /// Of the same shape, whatever it is; differences are taken in float64.
  void update(const Tensor& predictions, const Tensor& targets) override;

  /// Float64, without dimensions.
  Tensor compute() const override;

 private:
  MetricState& sum_;
  MetricState& count_;
};

}  // namespace levin
