#pragma once
#include <cstdint>

#include "levin/metrics/metric.h"

namespace levin {

/// The part of samples whose class was found; NaN before the first sample.
class Accuracy : public Metric {
 public:
  /// A sample counts when its label is among the `top_k` highest scores.
  explicit Accuracy(int64_t top_k = 1);

  /// `scores` are floating [n, classes] (logits or probabilities), or integral [n] (classes already chosen, top_k 1); `labels` are
  /// integral [n]. UsageError, with the shapes, for others.
  void update(const Tensor& scores, const Tensor& labels);

  /// Float64, without dimensions.
  Tensor compute() const override;

 private:
  int64_t top_k_;
  MetricState& correct_;
  MetricState& total_;
};

}  // namespace levin
