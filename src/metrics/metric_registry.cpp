#include "levin/metrics/metric_registry.h"

#include <fmt/core.h>

#include <map>

#include "levin/core/error.h"
#include "levin/metrics/accuracy.h"
#include "levin/metrics/auroc.h"
#include "levin/metrics/average_precision.h"
#include "levin/metrics/confusion_matrix.h"
#include "levin/metrics/f1_score.h"
#include "levin/metrics/mean_absolute_error.h"
#include "levin/metrics/mean_squared_error.h"
#include "levin/metrics/perplexity.h"
#include "levin/metrics/precision_score.h"
#include "levin/metrics/r2_score.h"
#include "levin/metrics/recall_score.h"

namespace levin {

MetricRegistry metric_registry() {
  MetricRegistry registry;
  registry.add<Accuracy>("accuracy");
  registry.add<PrecisionScore>("precision");
  registry.add<RecallScore>("recall");
  registry.add<F1Score>("f1");
  registry.add<ConfusionMatrix>("confusion_matrix");
  registry.add<AUROC>("auroc");
  registry.add<AveragePrecision>("average_precision");
  registry.add<MeanAbsoluteError>("mae");
  registry.add<MeanSquaredError>("mse");
  registry.add<R2Score>("r2");
  registry.add<Perplexity>("perplexity");
  return registry;
}

MetricCollection make_metrics(const MetricChoices& choices, std::string prefix) {
  MetricCollection collection(std::move(prefix));
  const auto metrics = choices.make();
  std::map<std::string, int> seen;
  for (size_t i = 0; i < metrics.size(); ++i) {
    const auto& name = choices.alternatives()[choices.items()[i].alternative].names.front();
    const int number = ++seen[name];
    collection.add(number == 1 ? name : fmt::format("{}_{}", name, number), metrics[i]);
  }
  return collection;
}

std::shared_ptr<PredictionMetric> make_metric(const MetricRegistry& registry, const ConfigValue& value) {
  MetricChoices choice;
  choice.offer(registry);
  read_config(choice, value);
  auto metrics = choice.make();
  if (metrics.size() != 1)
    throw ConfigError(fmt::format("{} metrics are chosen, must be one", metrics.size()), "give a name, or {name: …} with its options");
  return metrics.front();
}

}  // namespace levin
