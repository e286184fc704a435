#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/metrics/classification.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

/// The options of AUROC and AveragePrecision; torchmetrics' names and defaults.
struct ScoreCurveConfig {
  ClassificationTask task = ClassificationTask::multiclass;
  std::optional<int64_t> num_classes = {};
  std::optional<int64_t> num_labels = {};
  ClassAverage average = ClassAverage::macro;
  std::optional<int64_t> thresholds = {};
  bool logits = false;
  std::optional<int64_t> ignore_index = {};
  void validate() const;
};
LEVIN_CONFIG(ScoreCurveConfig, (task, "kind of labels"), (num_classes, "number of classes of the task multiclass", at_least(2)),
             (num_labels, "number of labels of the task multilabel", at_least(1)),
             (average, "reduction over classes; micro for the task multilabel only"),
             (thresholds, "number of thresholds from 0 to 1, in constant memory; null: exact, all scores are kept", at_least(2)),
             (logits, "scores are logits, not probabilities"), (ignore_index, "samples of this label do not count"))

/// Base of metrics of the curve that the threshold of a label draws. Each class of the task multiclass is a label against the others.
///
/// | task | scores, floating | targets, integral |
/// | --- | --- | --- |
/// | binary | [n, …] | [n, …], 0 or 1 |
/// | multiclass | [n, classes, …] | [n, …] |
/// | multilabel | [n, labels, …] | [n, labels, …], 0 or 1 |
///
/// Exact, it keeps all scores and labels: per sample and class the bytes of a score, per label 4 bytes more. compute() over all ranks
/// gathers them: every rank then holds the rows of all ranks, each padded to the longest. With `thresholds` it keeps
/// 2 (thresholds + 1) integers per class. Both depend only on counts, so the value is the same on any number of ranks. A NaN score makes
/// the value NaN.
class ScoreCurve : public PredictionMetric {
 public:
  using Config = ScoreCurveConfig;

  void update(const Tensor& scores, const Tensor& targets) override;

  /// Float64: without dimensions, or [classes] for the average none. Classes whose value is NaN do not count in an average. DataError
  /// after an update with a label that is neither a class nor ignore_index.
  Tensor compute() const override;

 protected:
  /// Of one label: the samples at or above each threshold, from the highest threshold down. The last point counts all samples unless the
  /// curve is binned.
  struct Point {
    int64_t hits = 0, false_alarms = 0;
  };
  struct Curve {
    std::vector<Point> points;
    int64_t positives = 0, negatives = 0;
    bool binned = false;
  };

  ScoreCurve(std::string name, const ScoreCurveConfig& config);
  const ScoreCurveConfig& config() const noexcept { return config_; }
  virtual double area(const Curve& curve) const = 0;

 private:
  void update_histogram(const Tensor& scores, const Tensor& labels);
  std::vector<Curve> exact_curves() const;
  std::vector<Curve> binned_curves() const;

  std::string name_;
  ScoreCurveConfig config_;
  int64_t labels_;
  MetricState* scores_ = nullptr;  // rows, exact
  MetricState* targets_ = nullptr;
  MetricState* histogram_ = nullptr;  // [labels, 2, thresholds + 1]: the number of thresholds that a score reaches
  MetricState* unordered_ = nullptr;  // NaN scores
  MetricState* invalid_ = nullptr;
};

}  // namespace levin
