#pragma once
#include <cstdint>

#include "levin/metrics/class_counts.h"

namespace levin {

/// The fraction of samples whose class was found; of labels, for the tasks binary and multilabel. Shapes: ClassCounts.
class Accuracy : public ClassCounts {
 public:
  explicit Accuracy(const ClassificationConfig& config = {});
  /// Of the task multiclass: a sample counts when its label is among the `top_k` highest scores.
  explicit Accuracy(int64_t top_k);

 protected:
  double score(const Counts& counts) const override;
  bool occurs(const Counts& counts) const override;
};

}  // namespace levin
