#pragma once
#include <span>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/metrics/metric.h"

namespace levin {

/// While it lives, the metrics have the combined state of all ranks, the same on every rank. Its destructor restores this rank's state.
/// All sums of all metrics take one all-reduce, all minima and maxima another; rows take two all-gathers.
/// Collective: all ranks pass the same metrics in the same order. Meanwhile call only compute() and states() of them.
class MetricSync {
 public:
  MetricSync(std::span<Metric* const> metrics, Communicator& communicator);
  ~MetricSync();
  MetricSync(const MetricSync&) = delete;
  MetricSync& operator=(const MetricSync&) = delete;

 private:
  std::vector<Metric*> metrics_;
  std::vector<Metric::Values> own_;
};

/// compute() of each metric over all ranks. Collective.
std::vector<Tensor> compute_synchronised(std::span<Metric* const> metrics, Communicator& communicator);

}  // namespace levin
