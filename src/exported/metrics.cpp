#include "metrics.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/metrics/metric_registry.h"

namespace levin::objective {
namespace {

constexpr auto dim_option = "class_dim";  // of expressions, not of the metric

bool has_task(const MetricFunction& function) {
  return std::find(function.options.begin(), function.options.end(), "task") != function.options.end();
}

bool scores_by_class(const Call& call) {
  if (call.function == "perplexity") return true;
  const auto task = call.words.find("task");
  return has_task(metric_functions().at(call.function)) && (task == call.words.end() || task->second.text == "multiclass");
}

ConfigValue metric_config(const Call& call) {
  auto config = ConfigValue::map();
  config.add("name", ConfigValue::scalar(call.function));
  for (const auto& [option, number] : call.options)
    if (option != dim_option) config.add(option, ConfigValue::scalar(fmt::format("{}", number)));
  for (const auto& [option, word] : call.words) config.add(option, ConfigValue::scalar(word.text));
  return config;
}

}  // namespace

const std::map<std::string, MetricFunction>& metric_functions() {
  static const auto functions = [] {
    std::map<std::string, MetricFunction> found;
    const auto registry = metric_registry();
    for (const auto& alternative : registry.alternatives()) {
      const auto& name = alternative.names.front();
      if (name == "confusion_matrix" || loss_functions().contains(name)) continue;
      MetricFunction function{alternative.type->keys()};
      if (has_task(function) || name == "perplexity") function.options.emplace_back(dim_option);
      found.emplace(name, std::move(function));
    }
    return found;
  }();
  return functions;
}

ExpressedMetric make_metric(const ExpressionSource& source, const Call& call) {
  if (const auto word = call.words.find(dim_option); word != call.words.end())
    source.fail(fmt::format("no number at byte {}", word->second.byte), "give 1 or -1");
  if (call.options.contains("top_k"))
    if (const auto top_k = integer_option(call.options, "top_k", 1); top_k < 1)
      source.fail(fmt::format("top_k is {}", top_k), "give at least 1");
  ExpressedMetric made{.metric = nullptr, .options = call.options};
  try {
    made.metric = levin::make_metric(metric_registry(), metric_config(call));
  } catch (const ConfigError& error) {
    const std::string message = error.what();  // [config] message; remedy
    source.fail(message.substr(message.find("] ") + 2), {});
  }
  if (made.metric->compute().numel() != 1) source.fail("its value is not one number, and cannot be logged", "choose another average");
  made.takes_labels = has_task(metric_functions().at(call.function)) || call.function == "perplexity";
  made.by_classes = scores_by_class(call);
  return made;
}

void ExpressedMetric::update(const Tensor& output, const Tensor& target) const {
  const Tensor scores = output.detach();
  if (takes_labels && target.is_floating_point())
    throw DataError(fmt::format("the labels of a metric are {}", c10::toString(target.scalar_type())),
                    "give integers, for example by data.dtype");
  if (by_classes && scores.is_floating_point()) {
    const auto [rows, labels] = by_class(scores, target, options);
    metric->update(rows, labels);
  } else {
    metric->update(scores, in_shape_of(scores, target));
  }
}

}  // namespace levin::objective
