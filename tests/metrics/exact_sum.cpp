#include "levin/metrics/exact_sum.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "../../src/metrics/exact_words.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/metrics/metric_sync.h"
#include "levin_test.h"
#include "reference_samples.h"

using levin::ExactSum;
using levin::Tensor;

BOOST_AUTO_TEST_SUITE(metrics_exact_sum)

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

class SumMetric : public levin::Metric {
 public:
  explicit SumMetric(int64_t count = 1) : sum_(add_state("sum", levin::StateReduction::sum, ExactSum::zero(count))) {}
  void update(const Tensor& terms) { ExactSum(sum_).add(terms); }
  Tensor compute() const override { return at::tensor({ExactSum::total(sum_.value), ExactSum::remainder(sum_.value)}, at::kDouble); }
  const Tensor& state() const { return sum_.value; }

 private:
  levin::MetricState& sum_;
};

double total(const std::vector<double>& terms) {
  SumMetric metric;
  metric.update(at::tensor(terms, at::kDouble));
  return ExactSum::total(metric.state());
}

Tensor special_terms() {
  const double least = std::numeric_limits<double>::denorm_min(), most = std::numeric_limits<double>::max();
  return at::tensor({0.0, -0.0, 1.0, -1.5, least, -3 * least, 2.5e-308, most, -most, most, 1e300, -1e-300, 0x1p-1022, 0x1.fffffffffffffp31},
                    at::kDouble);
}

}  // namespace

BOOST_AUTO_TEST_CASE(terms_cancel_exactly) {
  BOOST_TEST(total({}) == 0);
  BOOST_TEST(total({1e16, 1, -1e16}) == 1);
  BOOST_TEST(total({1e300, 1e-300, -1e300}) == 1e-300);
  BOOST_TEST(total({-1e300, -1, 1e300}) == -1);
  BOOST_TEST(total({5e-324, 5e-324, 5e-324}) == 15e-324);
  BOOST_TEST(total({-2.5}) == -2.5);
  const double most = std::numeric_limits<double>::max();
  BOOST_TEST(total({most, most, -most}) == most);
  BOOST_TEST(total({most, most}) == infinity);
}

// 2^53 + 1 lies between two float64: to the even one; any part more goes up.
BOOST_AUTO_TEST_CASE(rounds_to_nearest_even) {
  BOOST_TEST(total({0x1p53, 1}) == 0x1p53);
  BOOST_TEST(total({0x1p53, 1, 0x1p-1000}) == 0x1p53 + 2);
  BOOST_TEST(total({0x1p53, 3}) == 0x1p53 + 4);
  BOOST_TEST(total({0x1p53, 3, -0x1p-1000}) == 0x1p53 + 2);
  BOOST_TEST(total({-0x1p53, -1, -0x1p-1000}) == -0x1p53 - 2);
}

BOOST_AUTO_TEST_CASE(terms_that_are_not_finite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(total({1, infinity, 2}) == infinity);
  BOOST_TEST(total({1, -infinity}) == -infinity);
  BOOST_TEST(std::isnan(total({infinity, -infinity})));
  BOOST_TEST(std::isnan(total({1, nan})));
}

BOOST_AUTO_TEST_CASE(the_order_and_the_ranks_change_no_bit) {
  const auto ranks = levin::Communicator::create_cpu(levin::test::runtime());
  const auto terms = levin::test::exact_terms();
  double right = 0;
  for (const auto& recorded : levin::test::recorded_metrics())
    if (recorded.metric == "sum") right = recorded.values.front();
  BOOST_REQUIRE_NE(right, 0);
  SumMetric metric;
  for (size_t i = terms.size(); i-- > 0;)
    if (static_cast<int>(i % static_cast<size_t>(ranks->size())) == ranks->rank()) metric.update(at::full({}, terms[i], at::kDouble));
  levin::Metric* metrics[] = {&metric};
  const auto values = levin::compute_synchronised(metrics, *ranks)[0];
  BOOST_TEST(values[0].item<double>() == right);
  BOOST_TEST(total(terms) == right);
  // What was rounded away.
  auto without = terms;
  without.push_back(-right);
  BOOST_TEST(values[1].item<double>() == total(without));
}

BOOST_AUTO_TEST_CASE(sums_side_by_side_and_dtypes) {
  SumMetric metric(2);
  metric.update(at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({2, 2}));
  metric.update(at::tensor(std::vector<int64_t>{5, -6}).view({1, 2}));
  BOOST_TEST(ExactSum::total(metric.state(), 0) == 9);
  BOOST_TEST(ExactSum::total(metric.state(), 1) == 0);
  levin::test::check_throws<levin::UsageError>([&] { metric.update(at::ones({2, 3})); }, {"[2, 3]", "2 sums"});
}

// A device adds by scatter_add what the CPU adds in a loop.
BOOST_AUTO_TEST_CASE(the_device_path_has_the_same_words) {
  auto terms = at::cat({special_terms(), at::tensor(levin::test::exact_terms(), at::kDouble)}).narrow(0, 0, 1010);
  const double not_finite[] = {infinity, -infinity, -infinity, std::numeric_limits<double>::quiet_NaN()};
  for (int64_t i = 0; i < 4; ++i) terms[500 + i].fill_(not_finite[i]);
  for (const int64_t count : {1, 2, 5}) {
    const auto rows = terms.view({-1, count}).contiguous();
    const auto on_cpu = ExactSum::zero(count), on_device = ExactSum::zero(count);
    levin::detail::add_terms_on_cpu(on_cpu, rows);
    levin::detail::add_terms(on_device, rows);
    BOOST_TEST(at::equal(on_cpu, on_device));
    levin::detail::carry(on_cpu);
    BOOST_TEST((on_cpu.abs().max().item<int64_t>() < int64_t{1} << 33));
  }
}

BOOST_AUTO_TEST_SUITE_END()
