#pragma once
#include <cstdint>
#include <optional>

#include "levin/metrics/classification.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

/// What the counts are divided by: nothing; those of the label (rows); those of the predicted class (columns); all.
enum class MatrixNormalization { none, labels, predictions, all };
LEVIN_ENUM(MatrixNormalization, (none, "none"), (labels, "true"), (predictions, "pred"), (all, "all"))

struct ConfusionMatrixConfig {
  ClassificationTask task = ClassificationTask::multiclass;
  std::optional<int64_t> num_classes = {};
  std::optional<int64_t> num_labels = {};
  double threshold = 0.5;
  bool logits = false;
  std::optional<int64_t> ignore_index = {};
  MatrixNormalization normalize = MatrixNormalization::none;
  void validate() const;
};
LEVIN_CONFIG(ConfusionMatrixConfig, (task, "kind of labels"), (num_classes, "number of classes of the task multiclass", at_least(2)),
             (num_labels, "number of labels of the task multilabel", at_least(1)),
             (threshold, "a label of the tasks binary and multilabel is predicted above this probability", between(0, 1)),
             (logits, "scores of the tasks binary and multilabel are logits, not probabilities"),
             (ignore_index, "samples of this label do not count"),
             (normalize, "divide by the samples of each label (true), of each predicted class (pred), or all"))

/// How many samples of each class were predicted as each class. Integer counts: the same on any number of ranks. Shapes of update:
/// ClassCounts. A config can name it, but a matrix cannot be logged: read it by compute_synchronised.
class ConfusionMatrix : public PredictionMetric {
 public:
  using Config = ConfusionMatrixConfig;
  explicit ConfusionMatrix(const ConfusionMatrixConfig& config);

  void update(const Tensor& predictions, const Tensor& targets) override;

  /// Float64, [label, predicted class]: [classes, classes], [2, 2] for binary, [labels, 2, 2] for multilabel. A row or column without
  /// samples stays 0 when normalized. DataError after an update with a label that is neither a class nor ignore_index.
  Tensor compute() const override;

 private:
  ConfusionMatrixConfig config_;
  MetricState& counts_;
  MetricState& invalid_;
};

}  // namespace levin
