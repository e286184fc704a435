#pragma once
#include <span>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/metrics/metric.h"

namespace levin {

/// While it lives, the metrics' states are those of all ranks together, the same on every rank; then they are this rank's own again, and
/// go on gathering. All sums of all metrics travel in one all-reduce, all minima and maxima in another; rows take two all-gathers.
/// Collective: the ranks give the same metrics in the same order. Call nothing but compute and states of them meanwhile.
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
