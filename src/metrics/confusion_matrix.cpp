#include "levin/metrics/confusion_matrix.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

#include "class_samples.h"

namespace levin {
namespace {

const ConfusionMatrixConfig& checked(const ConfusionMatrixConfig& config) {
  check_config(config);
  return config;
}

Tensor empty_matrix(const ConfusionMatrixConfig& config) {
  switch (config.task) {
    case ClassificationTask::binary: return at::zeros({2, 2}, at::kLong);
    case ClassificationTask::multilabel: return at::zeros({*config.num_labels, 2, 2}, at::kLong);
    case ClassificationTask::multiclass: break;
  }
  return at::zeros({*config.num_classes, *config.num_classes}, at::kLong);
}

}  // namespace

void ConfusionMatrixConfig::validate() const { check_task(task, num_classes, num_labels, true); }

ConfusionMatrix::ConfusionMatrix(const ConfusionMatrixConfig& config)
    : config_(checked(config)),
      counts_(add_state("counts", StateReduction::sum, empty_matrix(config_))),
      invalid_(add_state("invalid", StateReduction::sum, at::zeros({}, at::kLong))) {}

void ConfusionMatrix::update(const Tensor& predictions, const Tensor& targets) {
  const bool classes = config_.task == ClassificationTask::multiclass;
  const auto [scores, labels] = detail::class_samples("ConfusionMatrix", config_.task, classes ? config_.num_classes : config_.num_labels,
                                                      false, predictions, targets);
  if (labels.numel() == 0) return;
  const int64_t size = counts_.value.size(-1);
  const Tensor chosen = scores.is_floating_point()
                            ? classes ? scores.argmax(1) : detail::predicted_labels(scores, config_.threshold, config_.logits).to(at::kLong)
                            : scores.to(at::kLong);
  const auto valid = labels.ge(0).logical_and(labels.lt(size)).logical_and(chosen.ge(0)).logical_and(chosen.lt(size));
  const auto [counted, invalid] = detail::use_of_labels(labels, valid, config_.ignore_index);
  auto cell = labels.clamp(0, size - 1).mul(size).add(chosen.clamp(0, size - 1));
  if (config_.task == ClassificationTask::multilabel) cell = cell.add(at::arange(cell.size(1), cell.options()).mul(size * size));
  counts_.value.view({-1}).scatter_add_(0, cell.flatten(), counted.to(at::kLong).flatten());
  invalid_.value.add_(invalid.sum());
}

Tensor ConfusionMatrix::compute() const {
  detail::check_labels("ConfusionMatrix", invalid_.value);
  auto counts = counts_.value.to(at::kDouble);
  switch (config_.normalize) {
    case MatrixNormalization::none: return counts;
    case MatrixNormalization::labels: return counts.div(counts.sum(-1, true).clamp_min(1));
    case MatrixNormalization::predictions: return counts.div(counts.sum(-2, true).clamp_min(1));
    case MatrixNormalization::all: break;
  }
  return counts.div(counts.sum({-2, -1}, true).clamp_min(1));
}

}  // namespace levin
