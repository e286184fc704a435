#include "levin/metrics/score_curve.h"

#include <ATen/ops/floor.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "levin/core/error.h"
#include "levin/metrics/auroc.h"
#include "levin/metrics/average_precision.h"
#include "levin_test.h"

using levin::AUROC;
using levin::AveragePrecision;
using levin::ConfigError;
using levin::DataError;
using levin::UsageError;
using levin::test::check_throws;
using Task = levin::ClassificationTask;

BOOST_AUTO_TEST_SUITE(metrics_score_curve)

namespace {

levin::Tensor integers(const std::vector<int64_t>& values) { return at::tensor(values); }
double value(const levin::Metric& metric) { return metric.compute().item<double>(); }

}  // namespace

BOOST_AUTO_TEST_CASE(pairs_counted_by_hand) {
  const auto scores = at::rand({60}).mul(8).floor();  // many equal ones
  const auto labels = at::randint(0, 2, {60}).to(at::kLong);
  labels[0].fill_(0), labels[1].fill_(1);
  double won = 0, pairs = 0;
  for (int64_t i = 0; i < 60; ++i)
    for (int64_t j = 0; j < 60; ++j) {
      if (labels[i].item<int64_t>() != 1 || labels[j].item<int64_t>() != 0) continue;
      const float a = scores[i].item<float>(), b = scores[j].item<float>();
      won += a > b ? 1 : a == b ? 0.5 : 0;
      ++pairs;
    }
  AUROC area({.task = Task::binary});
  area.update(scores, labels);
  BOOST_TEST(value(area) == won / pairs, boost::test_tools::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(precision_by_hand) {
  AveragePrecision precision({.task = Task::binary});
  precision.update(at::tensor({0.9, 0.8, 0.7, 0.6}), integers({1, 0, 1, 0}));
  BOOST_TEST(value(precision) == (1.0 + 2.0 / 3) / 2, boost::test_tools::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(classes_without_samples) {
  AUROC area({.task = Task::binary});
  AveragePrecision precision({.num_classes = 3, .average = levin::ClassAverage::none});
  BOOST_TEST(std::isnan(value(area)));  // before the first sample
  area.update(at::tensor({0.1, 0.2}), integers({1, 1}));
  BOOST_TEST(value(area) == 0);
  precision.update(at::rand({2, 3}), integers({0, 1}));
  BOOST_TEST(std::isnan(precision.compute()[2].item<double>()));
}

BOOST_AUTO_TEST_CASE(a_nan_score_makes_the_value_nan) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  AUROC exact({.task = Task::binary}), binned({.task = Task::binary, .thresholds = 5});
  for (auto* area : {&exact, &binned}) {
    area->update(at::tensor({0.2, nan, 0.7}), integers({0, 1, 1}));
    BOOST_TEST(std::isnan(value(*area)));
  }
}

BOOST_AUTO_TEST_CASE(dtypes_of_scores) {
  AUROC exact({.task = Task::binary}), binned({.task = Task::binary, .thresholds = 3});
  for (auto* area : {&exact, &binned})
    for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
      area->reset();
      area->update(at::tensor({0.25, 0.75}).to(dtype), integers({0, 1}));
      BOOST_TEST(value(*area) == 1);
    }
}

// Each score is a threshold, so that the bins part all of them.
BOOST_AUTO_TEST_CASE(a_score_reaches_its_threshold_in_either_precision) {
  const auto labels = integers({0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1});
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    AUROC exact({.task = Task::binary}), binned({.task = Task::binary, .thresholds = 11});
    const auto scores = at::linspace(0, 1, 11, dtype);
    for (auto* area : {&exact, &binned}) area->update(scores, labels);
    BOOST_TEST(value(binned) == value(exact));
  }
}

BOOST_AUTO_TEST_CASE(errors) {
  check_throws<ConfigError>([] { AUROC({.task = Task::multiclass}); }, {"num_classes"});
  check_throws<ConfigError>([] { AUROC({.num_classes = 3, .average = levin::ClassAverage::micro}); }, {"micro", "multilabel"});
  check_throws<ConfigError>([] { AUROC({.task = Task::binary, .thresholds = 1}); }, {"thresholds"});
  AUROC exact({.num_classes = 3}), binned({.num_classes = 3, .thresholds = 5});
  for (auto* area : {&exact, &binned}) {
    check_throws<UsageError>([&] { area->update(integers({0, 1}), integers({0, 1})); }, {"AUROC", "[2] Long", "floating scores"});
    area->update(at::rand({2, 3}), integers({0, 3}));
    check_throws<DataError>([&] { area->compute(); }, {"AUROC", "1 labels"});
    area->reset();
    area->update(at::rand({2, 3}), integers({0, int64_t{1} << 32}));  // not 0
    check_throws<DataError>([&] { area->compute(); }, {"AUROC", "1 labels"});
  }
}

BOOST_AUTO_TEST_SUITE_END()
