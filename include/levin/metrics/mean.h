#pragma once
#include "levin/metrics/metric.h"

namespace levin {

/// The weighted mean of numbers; NaN before the first.
class Mean : public Metric {
 public:
  Mean();

  /// Weight 0 is no update, whatever the value.
  void update(double value, double weight = 1);
  /// Every element of a floating or integral tensor, each with this weight.
  void update(const Tensor& values, double weight = 1);
  /// Element by element, of the same shape; UsageError otherwise.
  void update(const Tensor& values, const Tensor& weights);

  /// Float64, without dimensions.
  Tensor compute() const override;

 private:
  MetricState& sum_;
  MetricState& weight_;
};

}  // namespace levin
