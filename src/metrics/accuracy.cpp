#include "levin/metrics/accuracy.h"

#include "levin/core/error.h"

namespace levin {
namespace {

ClassificationConfig among_highest(int64_t top_k) {
  if (top_k < 1) throw UsageError("metrics", fmt::format("Accuracy: top_k is {}, must be at least 1", top_k));
  return {.top_k = top_k};
}

}  // namespace

Accuracy::Accuracy(const ClassificationConfig& config) : ClassCounts("Accuracy", config) {}
Accuracy::Accuracy(int64_t top_k) : Accuracy(among_highest(top_k)) {}

double Accuracy::score(const Counts& counts) const {
  if (config().task == ClassificationTask::multiclass) return counts.actual > 0 ? counts.hits / counts.actual : 0;
  const double right = counts.samples - counts.predicted - counts.actual + 2 * counts.hits;
  return counts.samples > 0 ? right / counts.samples : 0;
}

// As in torchmetrics: with top_k a class that was only predicted does not count.
bool Accuracy::occurs(const Counts& counts) const { return config().top_k > 1 ? counts.actual > 0 : ClassCounts::occurs(counts); }

}  // namespace levin
