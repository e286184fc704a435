#pragma once
#include "levin/metrics/metric.h"

namespace levin {

/// A metric of predictions and targets, such as those that metric_registry() names. Shapes are those of the class.
class PredictionMetric : public Metric {
 public:
  /// Adds a batch. Local; UsageError, with the shapes, for tensors that do not fit. Waits for no device: an invalid label is an error of
  /// compute().
  virtual void update(const Tensor& predictions, const Tensor& targets) = 0;
};

}  // namespace levin
