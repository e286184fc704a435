#include "levin/metrics/class_counts.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "class_samples.h"
#include "levin/core/error.h"

namespace levin {
namespace {

using Task = ClassificationTask;

const ClassificationConfig& checked(const ClassificationConfig& config) {
  check_config(config);
  return config;
}

Tensor no_counts(at::IntArrayRef shape) { return at::zeros(shape, at::kLong); }

int64_t counted_classes(const ClassificationConfig& config) {
  return config.task == Task::multiclass ? config.num_classes.value_or(1) : config.num_labels.value_or(1);
}

std::vector<int64_t> host_integers(const Tensor& tensor) {
  const auto on_host = tensor.to(at::kCPU).contiguous();
  return {on_host.const_data_ptr<int64_t>(), on_host.const_data_ptr<int64_t>() + on_host.numel()};
}

}  // namespace

void ClassificationConfig::validate() const {
  check_task(task, num_classes, num_labels, average != ClassAverage::micro);
  if (task != Task::multiclass && top_k != 1)
    throw ConfigError(fmt::format("top_k {} is an option of the task multiclass", top_k), "omit top_k", "metrics");
  if (num_classes && top_k > *num_classes)
    throw ConfigError(fmt::format("top_k is {}, num_classes {}", top_k, *num_classes), "lower top_k", "metrics");
  if (task == Task::binary && average != ClassAverage::micro)
    throw ConfigError("the task binary has no average over classes", "omit average", "metrics");
}

ClassCounts::ClassCounts(std::string name, const ClassificationConfig& config)
    : name_(std::move(name)),
      config_(checked(config)),
      classes_(counted_classes(config)),
      hits_(add_state("hits", StateReduction::sum, no_counts({classes_}))),
      predicted_(add_state("predicted", StateReduction::sum, no_counts({classes_}))),
      actual_(add_state("actual", StateReduction::sum, no_counts({classes_}))),
      samples_(add_state("samples", StateReduction::sum, no_counts({classes_}))),
      invalid_(add_state("invalid", StateReduction::sum, no_counts({}))) {}

void ClassCounts::update(const Tensor& predictions, const Tensor& targets) {
  const auto columns = config_.task == Task::multiclass ? config_.num_classes : config_.num_labels;
  const bool by_rank = config_.top_k > 1;
  auto [scores, labels] = detail::class_samples(name_, config_.task, columns, by_rank, predictions, targets);
  if (by_rank && config_.top_k > scores.size(1))
    throw UsageError("metrics", fmt::format("{}: top_k is {}, there are {} classes", name_, config_.top_k, scores.size(1)));
  if (labels.numel() == 0) return;
  if (config_.task == Task::multiclass)
    update_classes(scores, labels);
  else
    update_labels(scores, labels);
}

void ClassCounts::update_classes(const Tensor& scores, const Tensor& labels) {
  const bool by_score = scores.dim() == 2;
  Tensor chosen = by_score ? scores.argmax(1) : scores.to(at::kLong);
  Tensor found = chosen.eq(labels);
  if (config_.top_k > 1) {
    found = std::get<1>(scores.topk(config_.top_k, 1, true, /*sorted=*/false)).eq(labels.unsqueeze(1)).any(1);
    chosen = at::where(found, labels, chosen);
  }
  Tensor valid = labels.ge(0);
  const auto classes = by_score ? std::optional(scores.size(1)) : config_.num_classes;
  if (classes) valid = valid.logical_and(labels.lt(*classes));
  if (classes && !by_score) valid = valid.logical_and(chosen.ge(0)).logical_and(chosen.lt(*classes));
  const auto [counted, invalid] = detail::use_of_labels(labels, valid, config_.ignore_index);
  invalid_.value.add_(invalid.sum());
  const auto hits = found.logical_and(counted);
  if (classes_ == 1) {
    const auto count = counted.sum();
    hits_.value.add_(hits.sum()), predicted_.value.add_(count), actual_.value.add_(count), samples_.value.add_(count);
    return;
  }
  const auto ones = counted.to(at::kLong), actual = labels.clamp(0, classes_ - 1);
  predicted_.value.scatter_add_(0, chosen.clamp(0, classes_ - 1), ones);
  actual_.value.scatter_add_(0, actual, ones);
  hits_.value.scatter_add_(0, actual, hits.to(at::kLong));
  samples_.value.add_(ones.sum());
}

void ClassCounts::update_labels(const Tensor& scores, const Tensor& labels) {
  const auto is_one = labels.eq(1), chosen = detail::predicted_labels(scores, config_.threshold, config_.logits);
  Tensor valid = is_one.logical_or(labels.eq(0));
  if (!scores.is_floating_point() && scores.scalar_type() != at::kBool) valid = valid.logical_and(chosen.logical_or(scores.eq(0)));
  const auto [counted, invalid] = detail::use_of_labels(labels, valid, config_.ignore_index);
  invalid_.value.add_(invalid.sum());
  hits_.value.add_(is_one.logical_and(chosen).logical_and(counted).sum(0));
  predicted_.value.add_(chosen.logical_and(counted).sum(0));
  actual_.value.add_(is_one.logical_and(counted).sum(0));
  samples_.value.add_(counted.sum(0));
}

std::vector<ClassCounts::Counts> ClassCounts::counts() const {
  const auto hits = host_integers(hits_.value), predicted = host_integers(predicted_.value), actual = host_integers(actual_.value),
             samples = host_integers(samples_.value);
  std::vector<Counts> all(hits.size());
  for (size_t i = 0; i < all.size(); ++i)
    all[i] = {static_cast<double>(hits[i]), static_cast<double>(predicted[i]), static_cast<double>(actual[i]),
              static_cast<double>(samples[i])};
  return all;
}

// Plain loops: the value has the same digits for the same counts, whatever the device and the number of threads.
Tensor ClassCounts::compute() const {
  detail::check_labels(name_, invalid_.value);
  const auto all = counts();
  Counts total;
  for (const auto& [hits, predicted, actual, samples] : all)
    total.hits += hits, total.predicted += predicted, total.actual += actual, total.samples += samples;
  const bool empty = total.samples == 0;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (config_.average == ClassAverage::none) {
    std::vector<double> scores;
    for (const auto& counts : all) scores.push_back(empty ? nan : score(counts));
    return at::tensor(scores, at::kDouble);
  }
  const auto number = [&](double value) { return at::scalar_tensor(empty ? nan : value, at::kDouble); };
  if (config_.average == ClassAverage::micro) return number(score(total));
  double sum = 0, weights = 0;
  for (const auto& counts : all) {
    const double weight = config_.average == ClassAverage::weighted             ? counts.actual
                          : config_.task == Task::multiclass && !occurs(counts) ? 0.0
                                                                                : 1.0;
    sum += weight * score(counts), weights += weight;
  }
  return number(weights > 0 ? sum / weights : 0);
}

}  // namespace levin
