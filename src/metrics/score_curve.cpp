#include "levin/metrics/score_curve.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bucketize.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/logit.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "class_samples.h"
#include "levin/core/error.h"

namespace levin {
namespace {

using Task = ClassificationTask;
constexpr double undefined_area = std::numeric_limits<double>::quiet_NaN();

const ScoreCurveConfig& checked(const ScoreCurveConfig& config) {
  check_config(config);
  return config;
}

struct Scored {
  double score;
  bool positive;
};

// Whether a label is 1, or of this class; none for samples that do not count.
std::optional<bool> is_positive(int64_t label, int64_t column, const ScoreCurveConfig& config) {
  if (config.ignore_index && label == *config.ignore_index) return std::nullopt;
  return config.task == Task::multiclass ? label == column : label == 1;
}

bool is_label(int64_t label, int64_t labels, const ScoreCurveConfig& config) {
  if (config.ignore_index && label == *config.ignore_index) return true;
  return label >= 0 && label < (config.task == Task::multiclass ? labels : 2);
}

}  // namespace

void ScoreCurveConfig::validate() const {
  check_task(task, num_classes, num_labels, true);
  if (average == ClassAverage::micro && task != Task::multilabel)
    throw ConfigError("the average micro is for the task multilabel", "set average to macro, weighted or none", "metrics");
}

ScoreCurve::ScoreCurve(std::string name, const ScoreCurveConfig& config)
    : name_(std::move(name)),
      config_(checked(config)),
      labels_(config.task == Task::multiclass ? *config.num_classes : config.num_labels.value_or(1)) {
  if (!config_.thresholds) {
    scores_ = &add_rows("scores");
    targets_ = &add_rows("targets");
    return;
  }
  histogram_ = &add_state("histogram", StateReduction::sum, at::zeros({labels_, 2, *config_.thresholds + 1}, at::kLong));
  unordered_ = &add_state("unordered", StateReduction::sum, at::zeros({}, at::kLong));
  invalid_ = &add_state("invalid", StateReduction::sum, at::zeros({}, at::kLong));
}

void ScoreCurve::update(const Tensor& predictions, const Tensor& targets) {
  const auto columns = config_.task == Task::multiclass ? config_.num_classes : config_.num_labels;
  auto [scores, labels] = detail::class_samples(name_, config_.task, columns, true, predictions, targets);
  if (labels.numel() == 0) return;
  if (config_.task == Task::multiclass && config_.logits)
    scores = scores.to(scores.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).softmax(1);
  if (histogram_) return update_histogram(scores, labels);
  // Copies: a slice of the scores would keep the whole output of the model.
  scores_->append(scores.clone());
  targets_->append(labels.clamp(std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()).to(at::kInt));
}

void ScoreCurve::update_histogram(const Tensor& scores, const Tensor& labels) {
  const int64_t bins = *config_.thresholds + 1;
  // In the scores' precision, as in torchmetrics: a float32 score of 0.7 reaches the threshold 0.7.
  const auto precision = scores.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto thresholds = at::linspace(0, 1, *config_.thresholds, scores.options().dtype(precision)).to(at::kDouble);
  if (config_.logits && config_.task != Task::multiclass) thresholds = thresholds.logit();
  const auto is_nan = scores.isnan();
  const auto reached = at::bucketize(scores.to(at::kDouble), thresholds, /*out_int32=*/false, /*right=*/true);
  const auto column = at::arange(labels_, labels.options());
  const bool classes = config_.task == Task::multiclass;
  const auto rows = classes ? labels.unsqueeze(1) : labels;
  const auto positive = classes ? rows.eq(column) : rows.eq(1);
  const auto [valid, invalid] = detail::use_of_labels(rows, rows.ge(0).logical_and(rows.lt(classes ? labels_ : 2)), config_.ignore_index);
  const auto cell = column.mul(2).add(positive.to(at::kLong)).mul(bins).add(reached);
  const auto counted = valid.logical_and(is_nan.logical_not());
  histogram_->value.view({-1}).scatter_add_(0, cell.flatten(), counted.to(at::kLong).flatten());
  unordered_->value.add_(is_nan.logical_and(valid).sum());
  invalid_->value.add_(invalid.sum());
}

std::vector<ScoreCurve::Curve> ScoreCurve::exact_curves() const {
  std::vector<Curve> curves(static_cast<size_t>(labels_));
  const auto all_targets = targets_->joined().to(at::kCPU).contiguous();
  if (all_targets.numel() == 0) return curves;
  const auto all_scores = scores_->joined().to(at::kCPU, at::kDouble).contiguous();
  const auto* targets = all_targets.const_data_ptr<int32_t>();
  const auto* scores = all_scores.const_data_ptr<double>();
  int64_t invalid = 0;
  for (int64_t i = 0; i < all_targets.numel(); ++i) invalid += !is_label(targets[i], labels_, config_);
  detail::check_labels(name_, at::scalar_tensor(invalid, at::kLong));

  const int64_t samples = all_scores.size(0), label_columns = config_.task == Task::multiclass ? 1 : labels_;
  const bool together = config_.average == ClassAverage::micro;
  if (together) curves.resize(1);
  std::vector<Scored> sorted;
  for (int64_t column = 0; column < labels_; ++column) {
    if (!together) sorted.clear();
    for (int64_t i = 0; i < samples; ++i) {
      const auto positive = is_positive(targets[i * label_columns + (label_columns > 1 ? column : 0)], column, config_);
      if (positive) sorted.push_back({scores[i * labels_ + column], *positive});
    }
    if (together && column + 1 < labels_) continue;
    auto& curve = curves[together ? 0 : static_cast<size_t>(column)];
    if (std::any_of(sorted.begin(), sorted.end(), [](const Scored& sample) { return std::isnan(sample.score); })) {
      curve.positives = curve.negatives = -1;
      continue;
    }
    std::sort(sorted.begin(), sorted.end(), [](const Scored& a, const Scored& b) { return a.score > b.score; });
    for (size_t i = 0; i < sorted.size(); ++i) {
      ++(sorted[i].positive ? curve.positives : curve.negatives);
      if (i + 1 == sorted.size() || sorted[i + 1].score != sorted[i].score) curve.points.push_back({curve.positives, curve.negatives});
    }
  }
  return curves;
}

std::vector<ScoreCurve::Curve> ScoreCurve::binned_curves() const {
  detail::check_labels(name_, invalid_->value);
  const bool together = config_.average == ClassAverage::micro;
  auto counts = histogram_->value.to(at::kCPU);
  if (together) counts = counts.sum(0, true);
  counts = counts.contiguous();
  const auto* cell = counts.const_data_ptr<int64_t>();
  const int64_t bins = counts.size(2);
  std::vector<Curve> curves(static_cast<size_t>(counts.size(0)));
  for (auto& curve : curves) {
    curve.binned = true;
    const int64_t *negatives = cell, *positives = cell + bins;
    cell += 2 * bins;
    for (int64_t bin = bins - 1; bin >= 0; --bin) {
      curve.positives += positives[bin], curve.negatives += negatives[bin];
      if (bin > 0) curve.points.push_back({curve.positives, curve.negatives});
    }
    if (unordered_->value.item<int64_t>() > 0) curve.positives = curve.negatives = -1;
  }
  return curves;
}

Tensor ScoreCurve::compute() const {
  const auto curves = histogram_ ? binned_curves() : exact_curves();
  std::vector<double> areas;
  bool empty = true, unordered = false;
  for (const auto& curve : curves) {
    const bool has_nan = curve.positives < 0;
    unordered |= has_nan;
    empty = empty && curve.positives + curve.negatives == 0;
    areas.push_back(has_nan ? undefined_area : area(curve));
  }
  if (empty) std::fill(areas.begin(), areas.end(), undefined_area);
  if (config_.average == ClassAverage::none && config_.task != Task::binary) return at::tensor(areas, at::kDouble);
  if (unordered) return at::scalar_tensor(undefined_area, at::kDouble);
  double sum = 0, weights = 0;
  for (size_t i = 0; i < areas.size(); ++i) {
    if (std::isnan(areas[i])) continue;
    const double weight = config_.average == ClassAverage::weighted && areas.size() > 1 ? static_cast<double>(curves[i].positives) : 1;
    sum += weight * areas[i], weights += weight;
  }
  return at::scalar_tensor(weights > 0 ? sum / weights : undefined_area, at::kDouble);
}

}  // namespace levin
