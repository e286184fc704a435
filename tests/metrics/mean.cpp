#include "levin/metrics/mean.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <limits>

#include "levin/core/error.h"
#include "levin_test.h"

BOOST_AUTO_TEST_SUITE(metrics_mean)

namespace {

double value(const levin::Metric& metric) { return metric.compute().item<double>(); }

}  // namespace

BOOST_AUTO_TEST_CASE(weighs) {
  levin::Mean mean;
  BOOST_TEST(std::isnan(value(mean)));
  mean.update(1.0, 3);
  mean.update(5.0);
  BOOST_TEST(value(mean) == 2.0);
  mean.update(at::full({}, 9.0F), 4);
  BOOST_TEST(value(mean) == 5.5);
  mean.update(std::numeric_limits<double>::quiet_NaN(), 0);  // a padding batch's loss
  BOOST_TEST(value(mean) == 5.5);
  mean.reset();
  BOOST_TEST(std::isnan(value(mean)));
}

BOOST_AUTO_TEST_CASE(tensors_of_many_values) {
  levin::Mean mean;
  mean.update(at::tensor(std::vector<float>{1, 2, 3}), 2);
  BOOST_TEST(value(mean) == 2.0);
  mean.update(at::tensor(std::vector<int64_t>{8, 8}), 1);
  BOOST_TEST(value(mean) == 3.5);  // (2 * 6 + 16) / (6 + 2)
  mean.update(at::empty({0}));
  BOOST_TEST(value(mean) == 3.5);
  levin::Mean weighted;
  weighted.update(at::tensor(std::vector<float>{1, 5}), at::tensor(std::vector<float>{3, 1}));
  BOOST_TEST(value(weighted) == 2.0);
  levin::test::check_throws<levin::UsageError>([&] { weighted.update(at::ones({2}), at::ones({3})); }, {"Mean", "[2]", "[3]"});
}

BOOST_AUTO_TEST_CASE(adds_in_float64) {
  levin::Mean mean;
  const auto tenth = at::full({1000}, 0.1F);
  for (int i = 0; i < 1000; ++i) mean.update(tenth);
  BOOST_TEST(std::abs(value(mean) - static_cast<double>(0.1F)) < 1e-12);
}

BOOST_AUTO_TEST_CASE(a_value_with_a_graph_is_not_kept) {
  levin::Mean mean;
  auto value_with_graph = at::ones({2}).set_requires_grad(true).mul(2);
  mean.update(value_with_graph);
  BOOST_TEST(!mean.compute().requires_grad());
}

BOOST_AUTO_TEST_SUITE_END()
