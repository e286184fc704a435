#include "levin/trainer/module.h"

#include "levin/core/error.h"
#include "levin/metrics/metric_collection.h"
#include "levin/trainer/manual_optimization.h"
#include "levin/trainer/trainer.h"

namespace levin {

void Module::validation_step(const Batch&) {
  throw UsageError("trainer", fmt::format("{} has no validation_step", torch::nn::Module::name()),
                   "override it, or give no validation and test data");
}

Tensor Module::predict_step(const Batch&) {
  throw UsageError("trainer", fmt::format("{} has no predict_step", torch::nn::Module::name()), "override it");
}

Trainer& Module::trainer() const {
  if (!trainer_)
    throw UsageError("trainer", fmt::format("{} is not in a run", torch::nn::Module::name()), "use trainer() in steps and hooks");
  return *trainer_;
}

static ManualOptimization& need(ManualOptimization* optimization, const char* call) {
  if (optimization) return *optimization;
  throw UsageError("trainer", fmt::format("{} without manual optimization", call),
                   "return false from automatic_optimization, and call it in training_step");
}

Tensor Module::optimize(std::string_view optimizer, const std::function<Tensor()>& loss) {
  return need(optimization_, "optimize").optimize(optimizer, loss);
}

void Module::manual_backward(const Tensor& loss) { need(optimization_, "manual_backward").backward(loss); }

ManualOptimizer& Module::optimizer(std::string_view name) const { return need(optimization_, "optimizer").optimizer(name); }

void Module::clip_gradients(std::string_view optimizer, std::optional<double> gradient_clip_val, ClipAlgorithm algorithm) {
  auto& session = trainer().session();
  session.clip_gradients(session.optimizer_index(optimizer), gradient_clip_val, algorithm);
}

void Module::set_batch_weight(double weight) noexcept {
  batch_weight_ = weight;
  if (logs_) logs_->set_weight(weight);
}

void Module::log(std::string_view name, const Tensor& value, const LogOptions& options) {
  if (logs_) logs_->log(name, value, options);
}

void Module::log(std::string_view name, double value, const LogOptions& options) {
  if (logs_) logs_->log(name, value, options);
}

void Module::log(std::string_view name, Metric& metric, const LogOptions& options) {
  if (logs_) logs_->log(name, metric, options);
}

void Module::log(const MetricCollection& metrics, const LogOptions& options) {
  for (const auto& [name, metric] : metrics) log(name, *metric, options);
}

void Module::add_metrics(const MetricCollection& metrics) {
  for (const auto& [name, metric] : metrics) add_metric(name, metric);
}

}  // namespace levin
