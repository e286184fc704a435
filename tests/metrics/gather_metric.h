#pragma once
#include <ATen/ops/full.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "levin/metrics/metric.h"

namespace levin::test {

/// A metric with a state of each kind, written in place, by assignment and row by row.
class GatherMetric : public Metric {
 public:
  MetricState& count = add_state("count", StateReduction::sum, at::zeros({2}, at::kLong));
  MetricState& least = add_state("least", StateReduction::min, at::full({}, std::numeric_limits<double>::infinity(), at::kDouble));
  MetricState& most = add_state("most", StateReduction::max, at::full({}, -std::numeric_limits<double>::infinity(), at::kDouble));
  MetricState& rows = add_rows("rows");
  MetricState& labels = add_rows("labels");

  /// Values [n, width], labels [n].
  void update(const Tensor& values, const Tensor& values_labels) {
    count.value.add_(values.size(0));
    least.value = at::minimum(least.value, values.min().to(at::kDouble));
    most.value = at::maximum(most.value, values.max().to(at::kDouble));
    rows.append(values);
    labels.append(values_labels);
  }
  Tensor compute() const override { return count.value; }
};

}  // namespace levin::test
