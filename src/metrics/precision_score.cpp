#include "levin/metrics/precision_score.h"

namespace levin {

PrecisionScore::PrecisionScore(const ClassificationConfig& config) : ClassCounts("PrecisionScore", config) {}

double PrecisionScore::score(const Counts& counts) const { return counts.predicted > 0 ? counts.hits / counts.predicted : 0; }

// As in torchmetrics: with top_k a class that was only predicted does not count.
bool PrecisionScore::occurs(const Counts& counts) const { return config().top_k > 1 ? counts.actual > 0 : ClassCounts::occurs(counts); }

}  // namespace levin
