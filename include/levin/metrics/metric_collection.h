#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/metrics/prediction_metric.h"

namespace levin {

/// Metrics of the same predictions and targets. Module::add_metrics and log take a collection as a whole:
///
///     MetricCollection metrics("val_");
///     metrics.add<Accuracy>("accuracy");
///     metrics.add<F1Score>("f1", ClassificationConfig{.num_classes = 10, .average = ClassAverage::macro});
class MetricCollection {
 public:
  using Entry = std::pair<std::string, std::shared_ptr<PredictionMetric>>;

  /// The names of all metrics begin with `prefix`.
  explicit MetricCollection(std::string prefix = {}) : prefix_(std::move(prefix)) {}

  template <class M, class... Args>
  M& add(const std::string& name, Args&&... args) {
    auto metric = std::make_shared<M>(std::forward<Args>(args)...);
    M& result = *metric;
    add(name, std::move(metric));
    return result;
  }
  /// UsageError where a metric has this name already.
  void add(const std::string& name, std::shared_ptr<PredictionMetric> metric);

  /// Updates every metric. Local.
  void update(const Tensor& predictions, const Tensor& targets);
  void reset();
  /// The value of each metric over all ranks, by name: one exchange for all. Collective.
  std::vector<std::pair<std::string, Tensor>> compute(Communicator& communicator) const;

  /// In the order of add, names with their prefix.
  auto begin() const noexcept { return metrics_.begin(); }
  auto end() const noexcept { return metrics_.end(); }
  size_t size() const noexcept { return metrics_.size(); }

 private:
  std::string prefix_;
  std::vector<Entry> metrics_;
};

}  // namespace levin
