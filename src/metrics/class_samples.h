#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/tensor.h"
#include "levin/metrics/classification.h"

namespace levin::detail {

/// Predictions and targets with one row per sample: those of further dimensions are samples, too.
struct ClassSamples {
  Tensor scores;   ///< binary and multilabel [n, labels]; multiclass floating [n, classes] or integral [n]
  Tensor targets;  ///< int64; binary and multilabel [n, labels]; multiclass [n]
};

/// UsageError, with the shapes, for tensors that do not fit the task. `columns`: the number of classes or labels, where it is known;
/// `scores_only`: integral predictions are refused.
ClassSamples class_samples(const std::string& metric, ClassificationTask task, std::optional<int64_t> columns, bool scores_only,
                           const Tensor& predictions, const Tensor& targets);

/// Scores of the tasks binary and multilabel as labels, bool: above the threshold; integral ones that are 1.
Tensor predicted_labels(const Tensor& scores, double threshold, bool logits);
/// The score that has this probability: logit(probability) for logits.
double score_at(double probability, bool logits);

/// Which samples count, and which are errors, bool: those of the label `ignore_index` are neither.
struct LabelUse {
  Tensor counted, invalid;
};
/// `valid`: the labels that the configuration allows.
LabelUse use_of_labels(const Tensor& labels, const Tensor& valid, std::optional<int64_t> ignore_index);

/// DataError if labels were invalid; `invalid` is their number.
void check_labels(const std::string& metric, const Tensor& invalid);

/// "[5, 3] Float"
std::string shape_text(const Tensor& tensor);

}  // namespace levin::detail
