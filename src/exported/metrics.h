#pragma once
// The metrics that an expression can name.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "expression.h"
#include "functions.h"
#include "levin/metrics/prediction_metric.h"

namespace levin::objective {

struct MetricFunction {
  std::vector<std::string> options;  ///< names
};

/// The metrics of metric_registry() that can be logged, without those that are losses, too.
const std::map<std::string, MetricFunction>& metric_functions();

/// A metric, and how it takes the tensors of an expression.
struct ExpressedMetric {
  std::shared_ptr<PredictionMetric> metric;
  Options options;
  bool by_classes = false;   ///< scores have a dimension of classes
  bool takes_labels = true;  ///< targets are integers

  /// DataError for a target that does not fit the output.
  void update(const Tensor& output, const Tensor& target) const;
};

/// ConfigError for options that the metric refuses, and for a metric of several values.
ExpressedMetric make_metric(const ExpressionSource& source, const Call& call);

}  // namespace levin::objective
