#include "levin/metrics/class_counts.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "levin/core/error.h"
#include "levin/metrics/accuracy.h"
#include "levin/metrics/confusion_matrix.h"
#include "levin/metrics/f1_score.h"
#include "levin/metrics/precision_score.h"
#include "levin/metrics/recall_score.h"
#include "levin_test.h"

using levin::Accuracy;
using levin::ClassAverage;
using levin::ClassificationConfig;
using levin::ConfigError;
using levin::DataError;
using levin::F1Score;
using levin::UsageError;
using levin::test::check_throws;
using Task = levin::ClassificationTask;

BOOST_AUTO_TEST_SUITE(metrics_class_counts)

namespace {

levin::Tensor integers(const std::vector<int64_t>& values) { return at::tensor(values); }
double value(const levin::Metric& metric) { return metric.compute().item<double>(); }

}  // namespace

// Class 0: 2 of 3 found, 1 wrongly predicted; class 1: 1 of 2, 1 wrongly; class 2 does not occur.
BOOST_AUTO_TEST_CASE(by_hand) {
  const ClassificationConfig config{.num_classes = 3, .average = ClassAverage::none};
  levin::PrecisionScore precision(config);
  levin::RecallScore recall(config);
  F1Score f1(config), macro({.num_classes = 3, .average = ClassAverage::macro});
  for (levin::PredictionMetric* metric : std::initializer_list<levin::PredictionMetric*>{&precision, &recall, &f1, &macro}) {
    metric->update(integers({0, 0, 1}), integers({0, 0, 0}));
    metric->update(integers({1, 0}), integers({1, 1}));
  }
  BOOST_TEST(precision.compute()[0].item<double>() == 2.0 / 3);
  BOOST_TEST(precision.compute()[1].item<double>() == 1.0 / 2);
  BOOST_TEST(recall.compute()[0].item<double>() == 2.0 / 3);
  BOOST_TEST(recall.compute()[2].item<double>() == 0);
  BOOST_TEST(f1.compute()[1].item<double>() == 1.0 / 2);
  BOOST_TEST(value(macro) == (2.0 / 3 + 0.5) / 2, boost::test_tools::tolerance(1e-15));  // class 2 does not count
}

BOOST_AUTO_TEST_CASE(nan_before_the_first_sample) {
  F1Score f1({.num_classes = 3, .average = ClassAverage::macro, .ignore_index = -1});
  BOOST_TEST(std::isnan(value(f1)));
  f1.update(at::zeros({2, 3}), integers({-1, -1}));
  BOOST_TEST(std::isnan(value(f1)));
  f1.update(at::ones({1, 3}), integers({2}));
  BOOST_TEST(value(f1) == 0);
}

// At update they would need a wait for the device.
BOOST_AUTO_TEST_CASE(invalid_labels_are_an_error_of_compute) {
  Accuracy accuracy;
  accuracy.update(at::zeros({3, 4}), integers({0, 4, -1}));
  check_throws<DataError>([&] { accuracy.compute(); }, {"[metrics]", "Accuracy", "2 labels", "ignore_index"});
  accuracy.reset();
  Accuracy chosen({.num_classes = 3, .ignore_index = 7});
  chosen.update(integers({3, 0, 5}), integers({0, 0, 7}));  // the last one is ignored
  check_throws<DataError>([&] { chosen.compute(); }, {"1 labels"});
  Accuracy binary({.task = Task::binary});
  binary.update(at::ones({2}), integers({1, 2}));
  check_throws<DataError>([&] { binary.compute(); }, {"1 labels"});
  levin::ConfusionMatrix matrix({.num_classes = 2});
  matrix.update(integers({0, 1}), integers({0, 2}));
  check_throws<DataError>([&] { matrix.compute(); }, {"ConfusionMatrix", "1 labels"});
}

BOOST_AUTO_TEST_CASE(options_that_do_not_fit_the_task) {
  check_throws<ConfigError>([] { F1Score({.average = ClassAverage::macro}); }, {"[metrics]", "num_classes"});
  check_throws<ConfigError>([] { F1Score({.task = Task::multilabel}); }, {"num_labels"});
  check_throws<ConfigError>([] { F1Score({.task = Task::binary, .num_classes = 2}); }, {"num_classes", "multiclass"});
  check_throws<ConfigError>([] { F1Score({.num_classes = 3, .num_labels = 2}); }, {"num_labels", "multilabel"});
  check_throws<ConfigError>([] { F1Score({.task = Task::binary, .average = ClassAverage::macro}); }, {"average"});
  check_throws<ConfigError>([] { F1Score({.task = Task::binary, .top_k = 2}); }, {"top_k 2"});
  check_throws<ConfigError>([] { F1Score({.num_classes = 3, .top_k = 4}); }, {"top_k is 4", "3"});
  check_throws<ConfigError>([] { F1Score({.num_classes = -3}); }, {"num_classes"});
  check_throws<ConfigError>([] { F1Score({.threshold = 1.5}); }, {"threshold"});
}

BOOST_AUTO_TEST_CASE(shapes_that_do_not_fit) {
  F1Score classes({.num_classes = 3}), labels({.task = Task::multilabel, .num_labels = 3}), binary({.task = Task::binary});
  check_throws<UsageError>([&] { classes.update(at::zeros({4, 5}), at::zeros({4}, at::kLong)); }, {"F1Score", "[4, 5]", "3 classes"});
  check_throws<UsageError>([&] { classes.update(at::zeros({4, 3, 2}), at::zeros({4, 3}, at::kLong)); }, {"[4, 3, 2]", "[4, 3]"});
  check_throws<UsageError>([&] { labels.update(at::zeros({4, 2}), at::zeros({4, 2}, at::kLong)); }, {"[4, 2]", "3 labels"});
  check_throws<UsageError>([&] { labels.update(at::zeros({4}), at::zeros({4}, at::kLong)); }, {"[n, labels, …]"});
  check_throws<UsageError>([&] { binary.update(at::zeros({4}), at::zeros({4, 1}, at::kLong)); }, {"[4]", "[4, 1]"});
}

// The cut is made in units of the scores, so that no sigmoid rounds at it.
BOOST_AUTO_TEST_CASE(logits_are_cut_at_the_logit) {
  Accuracy half({.task = Task::binary, .logits = true}), high({.task = Task::binary, .threshold = 0.75, .logits = true});
  const auto scores = at::tensor({-1e-30, 1e-30, 1.0, 1.2});  // logit(0.75) is 1.0986
  half.update(scores, integers({0, 1, 1, 1}));
  high.update(scores, integers({0, 0, 0, 1}));
  BOOST_TEST(value(half) == 1);
  BOOST_TEST(value(high) == 1);
}

BOOST_AUTO_TEST_SUITE_END()
