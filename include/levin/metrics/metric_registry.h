#pragma once
#include <memory>
#include <string>

#include "levin/core/open_choice.h"
#include "levin/metrics/metric_collection.h"

namespace levin {

/// Metrics that a config can name. A program adds its own: `registry.add<MyMetric>("my_metric")`.
using MetricRegistry = Registry<PredictionMetric>;

/// Levin's: accuracy, precision, recall, f1, confusion_matrix, auroc, average_precision, mae, mse, r2, perplexity.
MetricRegistry metric_registry();

/// The type of a config's field: `metrics: [accuracy, {name: f1, num_classes: 10, average: macro}]`.
using MetricChoices = Choices<PredictionMetric>;

/// The metrics of a choice under their names; those of a name that is chosen several times are numbered: f1, f1_2. ConfigError for
/// invalid options.
MetricCollection make_metrics(const MetricChoices& choices, std::string prefix = {});

/// One metric: a name, or a map of a name and options. ConfigError for an unknown name or invalid options.
std::shared_ptr<PredictionMetric> make_metric(const MetricRegistry& registry, const ConfigValue& value);

}  // namespace levin
