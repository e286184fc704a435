#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "levin/metrics/classification.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

/// Base of metrics that are ratios of counts per class. Counts are integers, so the value does not depend on the number of ranks or on
/// batch sizes. NaN before the first sample; 0 for a class without the samples that it divides by, as in torchmetrics.
///
/// | task | predictions | targets, integral |
/// | --- | --- | --- |
/// | binary | floating, or integral 0 or 1: [n, …] | [n, …], 0 or 1 |
/// | multiclass | floating [n, classes, …], or integral classes [n, …] with top_k 1 | [n, …] |
/// | multilabel | floating, or integral 0 or 1: [n, labels, …] | [n, labels, …], 0 or 1 |
class ClassCounts : public PredictionMetric {
 public:
  using Config = ClassificationConfig;

  void update(const Tensor& predictions, const Tensor& targets) override;

  /// Float64: without dimensions, or [classes] for the average none. DataError after an update with a label that is neither a class nor
  /// ignore_index.
  Tensor compute() const override;

 protected:
  /// Of one class, or summed over classes.
  struct Counts {
    double hits = 0;       ///< predicted and right
    double predicted = 0;  ///< predicted
    double actual = 0;     ///< labelled so
    double samples = 0;    ///< all; of the tasks binary and multilabel
  };

  ClassCounts(std::string name, const ClassificationConfig& config);
  const ClassificationConfig& config() const noexcept { return config_; }
  virtual double score(const Counts& counts) const = 0;
  /// Whether a class takes part in the average macro of the task multiclass.
  virtual bool occurs(const Counts& counts) const { return counts.predicted + counts.actual > 0; }

 private:
  void update_classes(const Tensor& predictions, const Tensor& targets);
  void update_labels(const Tensor& predictions, const Tensor& targets);
  std::vector<Counts> counts() const;

  std::string name_;
  ClassificationConfig config_;
  int64_t classes_;  // 1: all classes count together
  MetricState& hits_;
  MetricState& predicted_;
  MetricState& actual_;
  MetricState& samples_;
  MetricState& invalid_;
};

}  // namespace levin
