#pragma once
#include "levin/metrics/score_curve.h"

namespace levin {

/// The area under the receiver operating characteristic: the probability that a sample of a class has a higher score for it than another
/// sample, equal scores counted half. 0 without samples of both kinds, as in torchmetrics. Shapes and memory: ScoreCurve.
class AUROC : public ScoreCurve {
 public:
  explicit AUROC(const ScoreCurveConfig& config);

 protected:
  double area(const Curve& curve) const override;
};

}  // namespace levin
