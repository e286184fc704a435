#include "levin/metrics/average_precision.h"

#include <limits>

namespace levin {

AveragePrecision::AveragePrecision(const ScoreCurveConfig& config) : ScoreCurve("AveragePrecision", config) {}

double AveragePrecision::area(const Curve& curve) const {
  if (curve.positives == 0) {
    const bool undefined = config().task == ClassificationTask::multiclass && !curve.binned;
    return undefined ? std::numeric_limits<double>::quiet_NaN() : 0;
  }
  double sum = 0;
  int64_t before = 0;
  for (const auto& [hits, false_alarms] : curve.points) {
    if (hits > before) sum += static_cast<double>(hits - before) * (static_cast<double>(hits) / static_cast<double>(hits + false_alarms));
    before = hits;
  }
  return sum / static_cast<double>(curve.positives);
}

}  // namespace levin
