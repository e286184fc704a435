#include "levin/metrics/recall_score.h"

namespace levin {

RecallScore::RecallScore(const ClassificationConfig& config) : ClassCounts("RecallScore", config) {}

double RecallScore::score(const Counts& counts) const { return counts.actual > 0 ? counts.hits / counts.actual : 0; }

// As in torchmetrics: with top_k a class that was only predicted does not count.
bool RecallScore::occurs(const Counts& counts) const { return config().top_k > 1 ? counts.actual > 0 : ClassCounts::occurs(counts); }

}  // namespace levin
