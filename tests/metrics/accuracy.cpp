#include "levin/metrics/accuracy.h"

#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "levin/core/error.h"
#include "levin_test.h"

using levin::Accuracy;
using levin::UsageError;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(metrics_accuracy)

namespace {

double value(const levin::Metric& metric) { return metric.compute().item<double>(); }

}  // namespace

BOOST_AUTO_TEST_CASE(top_1) {
  Accuracy accuracy;
  BOOST_TEST(std::isnan(value(accuracy)));
  accuracy.update(at::tensor(std::vector<float>{0, 2, 1, 5, 4, 3}).view({2, 3}), at::tensor(std::vector<int64_t>{1, 2}));
  BOOST_TEST(value(accuracy) == 0.5);
  accuracy.update(at::tensor(std::vector<int64_t>{4, 4}), at::tensor(std::vector<int64_t>{4, 4}));  // classes already chosen
  BOOST_TEST(value(accuracy) == 0.75);
  accuracy.update(at::zeros({0, 3}), at::zeros({0}, at::kLong));
  BOOST_TEST(value(accuracy) == 0.75);
}

BOOST_AUTO_TEST_CASE(top_k_against_a_count_by_hand) {
  const auto scores = at::rand({50, 7});
  const auto labels = at::randint(0, 7, {50}).to(at::kLong);
  for (const int64_t top_k : {1, 2, 6, 7}) {
    int64_t found = 0;
    for (int64_t i = 0; i < 50; ++i) {
      const float score = scores[i][labels[i].item<int64_t>()].item<float>();
      int64_t higher = 0;
      for (int64_t c = 0; c < 7; ++c) higher += scores[i][c].item<float>() > score;
      found += higher < top_k;
    }
    Accuracy accuracy(top_k);
    accuracy.update(scores, labels);
    BOOST_TEST(value(accuracy) == static_cast<double>(found) / 50);
  }
}

BOOST_AUTO_TEST_CASE(bad_shapes) {
  Accuracy accuracy;
  const auto labels = at::zeros({4}, at::kLong);
  check_throws<UsageError>([&] { accuracy.update(at::zeros({5, 3}), labels); }, {"[metrics]", "[5, 3]", "[4]"});
  check_throws<UsageError>([&] { accuracy.update(at::zeros({4, 3}), at::zeros({4, 1}, at::kLong)); }, {"[4, 3]", "[4, 1]"});
  check_throws<UsageError>([&] { accuracy.update(at::zeros({4}), labels); }, {"Float"});
  check_throws<UsageError>([&] { accuracy.update(at::zeros({4, 3}), at::zeros({4})); }, {"Float"});
  check_throws<UsageError>([&] { Accuracy(4).update(at::zeros({4, 3}), labels); }, {"top_k is 4", "3 classes"});
  check_throws<UsageError>([&] { Accuracy(2).update(labels, labels); }, {"[n, classes]"});
  check_throws<UsageError>([] { Accuracy(0); }, {"top_k is 0"});
}

BOOST_AUTO_TEST_SUITE_END()
