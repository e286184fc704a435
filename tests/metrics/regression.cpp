#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "levin/core/error.h"
#include "levin/metrics/mean_absolute_error.h"
#include "levin/metrics/mean_squared_error.h"
#include "levin/metrics/perplexity.h"
#include "levin/metrics/r2_score.h"
#include "levin_test.h"

using levin::UsageError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(metrics_regression)

namespace {

double value(const levin::Metric& metric) { return metric.compute().item<double>(); }

}  // namespace

BOOST_AUTO_TEST_CASE(means) {
  levin::MeanAbsoluteError absolute;
  levin::MeanSquaredError squared, root({.squared = false});
  BOOST_TEST(std::isnan(value(absolute)));
  for (levin::PredictionMetric* metric : std::initializer_list<levin::PredictionMetric*>{&absolute, &squared, &root}) {
    metric->update(at::zeros({2, 1}), at::tensor({3.0F, -4.0F}).view({2, 1}));
    metric->update(at::zeros({0, 1}), at::zeros({0, 1}));
    check_throws<UsageError>([&] { metric->update(at::zeros({2}), at::zeros({2, 1})); }, {"[metrics]", "[2]", "[2, 1]"});
  }
  BOOST_TEST(value(absolute) == 3.5);
  BOOST_TEST(value(squared) == 12.5);
  BOOST_TEST(value(root) == std::sqrt(12.5));
}

BOOST_AUTO_TEST_CASE(r2_with_targets_far_from_zero) {
  levin::R2Score score;
  BOOST_TEST(std::isnan(value(score)));
  // Deviations -1, 0, 1 from the mean; residuals 0.5, 0, 0.
  const double mean = 1e9;
  score.update(at::tensor({mean - 0.5}), at::tensor({mean - 1}));
  BOOST_TEST(std::isnan(value(score)));
  score.update(at::tensor({mean, mean + 1}), at::tensor({mean, mean + 1}));
  BOOST_TEST(value(score) == 1 - 0.25 / 2, boost::test_tools::tolerance(1e-12));
}

BOOST_AUTO_TEST_CASE(r2_of_constant_targets) {
  levin::R2Score right, wrong;
  right.update(at::ones({3}), at::ones({3}));
  wrong.update(at::tensor({1.0, 1.0, 2.0}), at::tensor({1.0, 1.0, 1.0}));
  BOOST_TEST(value(right) == 1);
  BOOST_TEST(value(wrong) == 0);
  levin::R2Score outputs({.num_outputs = 2});
  check_throws<UsageError>([&] { outputs.update(at::ones({3}), at::ones({3})); }, {"R2Score", "[3]", "num_outputs is 2"});
}

BOOST_AUTO_TEST_CASE(perplexity_of_equal_scores_is_the_vocabulary) {
  levin::Perplexity perplexity({.ignore_index = -100});
  BOOST_TEST(std::isnan(value(perplexity)));
  auto labels = at::zeros({2, 3}, at::kLong);
  labels[1].fill_(-100);
  perplexity.update(at::zeros({2, 3, 8}), labels);
  BOOST_TEST(value(perplexity) == 8, boost::test_tools::tolerance(1e-6));  // log_softmax in float32
  perplexity.update(at::full({1, 8}, 2, at::kHalf), at::zeros({1}, at::kLong));
  BOOST_TEST(value(perplexity) == 8, boost::test_tools::tolerance(1e-6));
  perplexity.update(at::zeros({1, 8}), at::full({1}, 8, at::kLong));
  check_throws<levin::DataError>([&] { perplexity.compute(); }, {"Perplexity", "1 labels"});
  check_throws<UsageError>([&] { perplexity.update(at::zeros({2, 8}), at::zeros({3}, at::kLong)); }, {"[2, 8]", "[3]"});
}

BOOST_AUTO_TEST_SUITE_END()
