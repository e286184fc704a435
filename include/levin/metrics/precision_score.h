#pragma once
#include "levin/metrics/class_counts.h"

namespace levin {

/// Of the samples predicted as a class, the fraction that is of this class. Shapes: ClassCounts.
class PrecisionScore : public ClassCounts {
 public:
  explicit PrecisionScore(const ClassificationConfig& config = {});

 protected:
  double score(const Counts& counts) const override;
  bool occurs(const Counts& counts) const override;
};

}  // namespace levin
