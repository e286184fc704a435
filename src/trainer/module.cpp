#include "levin/trainer/module.h"

#include "levin/core/error.h"

namespace levin {

void Module::validation_step(const Batch&) {
  throw UsageError("trainer", fmt::format("{} has no validation_step", torch::nn::Module::name()),
                   "override it, or give no validation and test data");
}

Tensor Module::predict_step(const Batch&) {
  throw UsageError("trainer", fmt::format("{} has no predict_step", torch::nn::Module::name()), "override it");
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

}  // namespace levin
