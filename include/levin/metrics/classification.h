#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/config.h"

namespace levin {

/// What the labels of a sample are: 0 or 1; one class of several; 0 or 1 for each of several labels.
enum class ClassificationTask { binary, multiclass, multilabel };
LEVIN_ENUM(ClassificationTask, (binary, "binary"), (multiclass, "multiclass"), (multilabel, "multilabel"))

/// How the values of the classes become one: from the sums of all counts; their mean; their mean weighted by the samples of each class;
/// none keeps one value per class.
enum class ClassAverage { micro, macro, weighted, none };
LEVIN_ENUM(ClassAverage, (micro, "micro"), (macro, "macro"), (weighted, "weighted"), (none, "none"))

/// The options of Accuracy, PrecisionScore, RecallScore and F1Score; torchmetrics' names and defaults.
struct ClassificationConfig {
  ClassificationTask task = ClassificationTask::multiclass;
  std::optional<int64_t> num_classes = {};
  std::optional<int64_t> num_labels = {};
  ClassAverage average = ClassAverage::micro;
  int64_t top_k = 1;
  double threshold = 0.5;
  bool logits = false;
  std::optional<int64_t> ignore_index = {};
  void validate() const;
};
LEVIN_CONFIG(ClassificationConfig, (task, "kind of labels"),
             (num_classes, "number of classes of the task multiclass; unnecessary for the average micro", at_least(2)),
             (num_labels, "number of labels of the task multilabel", at_least(1)), (average, "reduction over classes"),
             (top_k, "a sample of the task multiclass counts as found when its label is among this many highest scores", at_least(1)),
             (threshold, "a label of the tasks binary and multilabel is predicted above this probability", between(0, 1)),
             (logits, "scores of the tasks binary and multilabel are logits, not probabilities"),
             (ignore_index, "samples of this label do not count"))

/// Refuses a task without its number of classes or labels, and a number that the task does not use. ConfigError.
void check_task(ClassificationTask task, std::optional<int64_t> num_classes, std::optional<int64_t> num_labels, bool needs_classes);

}  // namespace levin
