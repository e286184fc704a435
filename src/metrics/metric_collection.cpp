#include "levin/metrics/metric_collection.h"

#include "levin/core/error.h"
#include "levin/metrics/metric_sync.h"

namespace levin {

void MetricCollection::add(const std::string& name, std::shared_ptr<PredictionMetric> metric) {
  const auto whole = prefix_ + name;
  for (const auto& [known, other] : metrics_)
    if (known == whole) throw UsageError("metrics", fmt::format("two metrics of a collection are named \"{}\"", whole));
  metrics_.emplace_back(whole, std::move(metric));
}

void MetricCollection::update(const Tensor& predictions, const Tensor& targets) {
  for (const auto& [name, metric] : metrics_) metric->update(predictions, targets);
}

void MetricCollection::reset() {
  for (const auto& [name, metric] : metrics_) metric->reset();
}

std::vector<std::pair<std::string, Tensor>> MetricCollection::compute(Communicator& communicator) const {
  std::vector<Metric*> all;
  for (const auto& [name, metric] : metrics_) all.push_back(metric.get());
  const auto values = compute_synchronised(all, communicator);
  std::vector<std::pair<std::string, Tensor>> named;
  for (size_t i = 0; i < values.size(); ++i) named.emplace_back(metrics_[i].first, values[i]);
  return named;
}

}  // namespace levin
