#include "levin/metrics/metric_registry.h"

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdlib>

#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/metrics/accuracy.h"
#include "levin/metrics/f1_score.h"
#include "levin/metrics/mean_absolute_error.h"
#include "levin_test.h"

using levin::ConfigError;
using levin::ConfigValue;
using levin::MetricCollection;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(metrics_metric_registry)

namespace {

ConfigValue named(const std::string& name, const std::vector<std::pair<std::string, std::string>>& options) {
  auto value = ConfigValue::map();
  value.add("name", ConfigValue::scalar(name));
  for (const auto& [key, option] : options) value.add(key, ConfigValue::scalar(option));
  return value;
}

}  // namespace

BOOST_AUTO_TEST_CASE(by_name) {
  const auto registry = levin::metric_registry();
  BOOST_TEST(dynamic_cast<levin::Accuracy*>(levin::make_metric(registry, ConfigValue::scalar("accuracy")).get()) != nullptr);
  const auto f1 = levin::make_metric(registry, named("f1", {{"num_classes", "3"}, {"average", "none"}}));
  f1->update(at::zeros({2, 3}), at::zeros({2}, at::kLong));
  BOOST_TEST(f1->compute().size(0) == 3);
  check_throws<ConfigError>([&] { levin::make_metric(registry, ConfigValue::scalar("acuracy")); }, {"acuracy", "did you mean accuracy?"});
  check_throws<ConfigError>([&] { levin::make_metric(registry, named("f1", {{"average", "macro"}})); }, {"num_classes"});
  check_throws<ConfigError>([&] { levin::make_metric(registry, named("f1", {{"avarage", "macro"}})); }, {"avarage"});
  check_throws<ConfigError>([&] { levin::make_metric(registry, named("auroc", {{"task", "binry"}})); }, {"binry"});
  check_throws<ConfigError>([&] { levin::make_metric(registry, ConfigValue::sequence()); }, {"0 metrics"});
}

BOOST_AUTO_TEST_CASE(every_name_can_be_made_and_explained) {
  const auto registry = levin::metric_registry();
  BOOST_TEST(registry.alternatives().size() == 11U);
  for (const auto& alternative : registry.alternatives()) {
    const auto& name = alternative.names.front();
    std::vector<std::pair<std::string, std::string>> options;
    if (alternative.type->find("task")) options = {{"task", "multilabel"}, {"num_labels", "4"}};
    BOOST_TEST(levin::make_metric(registry, named(name, options)) != nullptr, name);
  }
}

BOOST_AUTO_TEST_CASE(a_choice_becomes_a_collection) {
  levin::MetricChoices choices;
  choices.offer(levin::metric_registry());
  auto list = ConfigValue::sequence();
  list.items = {ConfigValue::scalar("accuracy"), named("f1", {}), named("f1", {{"top_k", "2"}})};
  levin::read_config(choices, list);
  const auto metrics = levin::make_metrics(choices, "val_");
  std::vector<std::string> names;
  for (const auto& [name, metric] : metrics) names.push_back(name);
  BOOST_TEST(names == (std::vector<std::string>{"val_accuracy", "val_f1", "val_f1_2"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_collection_travels_together) {
  const auto ranks = levin::Communicator::create_cpu(levin::test::runtime());
  MetricCollection metrics("test/");
  metrics.add<levin::Accuracy>("accuracy");
  metrics.add<levin::MeanAbsoluteError>("distance");
  check_throws<levin::UsageError>([&] { metrics.add<levin::F1Score>("accuracy"); }, {"\"test/accuracy\""});
  // Rank r predicts class 0 for label 0, and r for 1.
  metrics.update(at::tensor(std::vector<int64_t>{0, ranks->rank()}), at::tensor(std::vector<int64_t>{0, 1}));
  const auto values = metrics.compute(*ranks);
  double distance = 0, right = ranks->size();
  for (int rank = 0; rank < ranks->size(); ++rank) distance += std::abs(rank - 1), right += rank == 1;
  const double count = 2 * ranks->size();
  BOOST_TEST(values[0].first == "test/accuracy");
  BOOST_TEST(values[0].second.item<double>() == right / count);
  BOOST_TEST(values[1].second.item<double>() == distance / count);
  metrics.reset();
  BOOST_TEST(std::isnan(metrics.compute(*ranks)[1].second.item<double>()));
}

BOOST_AUTO_TEST_SUITE_END()
