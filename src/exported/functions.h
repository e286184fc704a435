#pragma once
// The losses, metrics and transformations that an expression can name.
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "expression.h"
#include "levin/core/tensor.h"
#include "levin/metrics/metric.h"

namespace levin::objective {

/// A mean loss, and what it is a mean over where that is not the samples.
struct LossValue {
  Tensor value;
  std::optional<double> weight = {};
};

using Options = std::map<std::string, double>;

struct LossFunction {
  std::vector<std::string> options;  ///< that it has
  LossValue (*compute)(const Tensor& output, const Tensor& target, const Options& options);
};

/// A metric, with what an update of it does.
struct MetricUpdate {
  std::shared_ptr<Metric> metric;
  std::function<void(const Tensor& output, const Tensor& target)> update;
};

struct MetricFunction {
  std::vector<std::string> options;
  MetricUpdate (*make)(const Options& options);
};

struct OutputFunction {
  std::vector<std::string> options;
  Tensor (*compute)(const Tensor& output, const Options& options);
};

const std::map<std::string, LossFunction>& loss_functions();
const std::map<std::string, MetricFunction>& metric_functions();
const std::map<std::string, OutputFunction>& output_functions();

}  // namespace levin::objective
