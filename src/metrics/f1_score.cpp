#include "levin/metrics/f1_score.h"

namespace levin {

F1Score::F1Score(const ClassificationConfig& config) : ClassCounts("F1Score", config) {}

double F1Score::score(const Counts& counts) const {
  const double sum = counts.predicted + counts.actual;
  return sum > 0 ? 2 * counts.hits / sum : 0;
}

}  // namespace levin
