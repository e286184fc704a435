#include "levin/metrics/auroc.h"

namespace levin {

AUROC::AUROC(const ScoreCurveConfig& config) : ScoreCurve("AUROC", config) {}

// Twice the area in units of one pair of samples: integers, exact below 2^62 pairs.
double AUROC::area(const Curve& curve) const {
  if (curve.positives == 0 || curve.negatives == 0) return 0;
  int64_t twice = 0;
  Point before;
  for (size_t i = 0; i < curve.points.size(); ++i) {
    const auto& point = curve.points[i];
    // A binned curve begins at its highest threshold, an exact one at the origin.
    if (i > 0 || !curve.binned) twice += (point.false_alarms - before.false_alarms) * (point.hits + before.hits);
    before = point;
  }
  return static_cast<double>(twice) / 2 / (static_cast<double>(curve.positives) * static_cast<double>(curve.negatives));
}

}  // namespace levin
