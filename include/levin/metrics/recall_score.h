#pragma once
#include "levin/metrics/class_counts.h"

namespace levin {

/// Of the samples of a class, the fraction predicted as this class. Shapes: ClassCounts.
class RecallScore : public ClassCounts {
 public:
  explicit RecallScore(const ClassificationConfig& config = {});

 protected:
  double score(const Counts& counts) const override;
  bool occurs(const Counts& counts) const override;
};

}  // namespace levin
