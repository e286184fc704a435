#pragma once
#include "levin/metrics/class_counts.h"

namespace levin {

/// The harmonic mean of precision and recall. Shapes: ClassCounts.
class F1Score : public ClassCounts {
 public:
  explicit F1Score(const ClassificationConfig& config = {});

 protected:
  double score(const Counts& counts) const override;
};

}  // namespace levin
