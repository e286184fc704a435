#include "class_samples.h"

#include <ATen/ops/eq.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/ne.h>
#include <c10/util/StringUtil.h>

#include <cmath>

#include "levin/core/error.h"

namespace levin {
namespace {

[[noreturn]] void refuse_option(const std::string& message, const std::string& remedy) { throw ConfigError(message, remedy, "metrics"); }

const char* expected_shapes(ClassificationTask task, bool scores_only) {
  switch (task) {
    case ClassificationTask::binary:
      return scores_only ? "give floating scores [n, …] and integral labels of the same shape"
                         : "give predictions [n, …] and integral labels of the same shape";
    case ClassificationTask::multilabel:
      return scores_only ? "give floating scores [n, labels, …] and integral labels of the same shape"
                         : "give predictions [n, labels, …] and integral labels of the same shape";
    case ClassificationTask::multiclass: break;
  }
  return scores_only ? "give floating scores [n, classes] and integral labels [n]"
                     : "give floating scores [n, classes] or integral classes [n], and integral labels [n]";
}

// [n, columns, …] to [n …, columns].
Tensor rows_of_columns(const Tensor& tensor) { return tensor.dim() == 2 ? tensor : tensor.movedim(1, -1).reshape({-1, tensor.size(1)}); }

bool shapes_fit(ClassificationTask task, const Tensor& predictions, const Tensor& targets, bool scores_only) {
  if (targets.is_floating_point() || targets.dim() < 1) return false;
  if (scores_only && !predictions.is_floating_point()) return false;
  switch (task) {
    case ClassificationTask::binary: return predictions.sizes() == targets.sizes();
    case ClassificationTask::multilabel: return predictions.dim() >= 2 && predictions.sizes() == targets.sizes();
    case ClassificationTask::multiclass: break;
  }
  if (!predictions.is_floating_point()) return predictions.sizes() == targets.sizes();
  if (predictions.dim() != targets.dim() + 1 || predictions.size(0) != targets.size(0)) return false;
  return predictions.sizes().slice(2) == targets.sizes().slice(1);
}

}  // namespace

void check_task(ClassificationTask task, std::optional<int64_t> num_classes, std::optional<int64_t> num_labels, bool needs_classes) {
  if (task == ClassificationTask::multilabel && !num_labels) refuse_option("the task multilabel needs num_labels", "give their number");
  if (task == ClassificationTask::multiclass && needs_classes && !num_classes)
    refuse_option("the task multiclass needs num_classes", "give their number");
  if (task != ClassificationTask::multilabel && num_labels)
    refuse_option("num_labels is an option of the task multilabel", "set task: multilabel, or give num_classes");
  if (task != ClassificationTask::multiclass && num_classes)
    refuse_option("num_classes is an option of the task multiclass", "set task: multiclass, or omit num_classes");
}

namespace detail {

std::string shape_text(const Tensor& tensor) { return fmt::format("{} {}", c10::str(tensor.sizes()), c10::toString(tensor.scalar_type())); }

ClassSamples class_samples(const std::string& metric, ClassificationTask task, std::optional<int64_t> columns, bool scores_only,
                           const Tensor& predictions, const Tensor& targets) {
  if (!shapes_fit(task, predictions, targets, scores_only))
    throw UsageError("metrics", fmt::format("{}: scores are {}, labels {}", metric, shape_text(predictions), shape_text(targets)),
                     expected_shapes(task, scores_only));
  const Tensor scores = predictions.detach();
  if (task == ClassificationTask::binary) return {scores.reshape({-1, 1}), targets.reshape({-1, 1}).to(at::kLong)};
  const bool has_columns = task == ClassificationTask::multilabel || scores.is_floating_point();
  if (has_columns && columns && scores.size(1) != *columns)
    throw UsageError("metrics", fmt::format("{}: scores are {}, configured are {} {}", metric, shape_text(scores), *columns,
                                            task == ClassificationTask::multilabel ? "labels" : "classes"));
  const Tensor labels = targets.to(at::kLong);
  if (task == ClassificationTask::multilabel) return {rows_of_columns(scores), rows_of_columns(labels)};
  return {has_columns ? rows_of_columns(scores) : scores.reshape({-1}), labels.reshape({-1})};
}

double score_at(double probability, bool logits) { return logits ? std::log(probability / (1 - probability)) : probability; }

Tensor predicted_labels(const Tensor& scores, double threshold, bool logits) {
  return scores.is_floating_point() ? scores.gt(score_at(threshold, logits)) : scores.eq(1);
}

LabelUse use_of_labels(const Tensor& labels, const Tensor& valid, std::optional<int64_t> ignore_index) {
  const Tensor invalid = valid.logical_not();
  if (!ignore_index) return {valid, invalid};
  const auto counts = labels.ne(*ignore_index);
  return {valid.logical_and(counts), invalid.logical_and(counts)};
}

void check_labels(const std::string& metric, const Tensor& invalid) {
  if (const auto count = invalid.item<int64_t>(); count > 0)
    throw DataError(fmt::format("{}: {} labels or predicted classes are outside the configured classes", metric, count),
                    "set ignore_index for labels that do not count, or correct num_classes", "metrics");
}

}  // namespace detail
}  // namespace levin
