#pragma once
#include "levin/metrics/score_curve.h"

namespace levin {

/// The mean of the precision at each threshold, weighted by the recall that it adds. Without samples of a class: NaN for a class of the
/// task multiclass in exact mode, else 0, as in torchmetrics. Shapes and memory: ScoreCurve.
class AveragePrecision : public ScoreCurve {
 public:
  explicit AveragePrecision(const ScoreCurveConfig& config);

 protected:
  double area(const Curve& curve) const override;
};

}  // namespace levin
