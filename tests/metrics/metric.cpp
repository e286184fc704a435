#include "levin/metrics/metric.h"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/max.h>
#include <ATen/ops/min.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>

#include "gather_metric.h"
#include "levin/core/error.h"
#include "levin_test.h"

using levin::DataError;
using levin::StateReduction;
using levin::Tensor;
using levin::UsageError;
using levin::test::check_throws;
using levin::test::GatherMetric;

BOOST_AUTO_TEST_SUITE(metrics_metric)

namespace {

std::vector<Tensor> joined(const levin::Metric& metric) {
  std::vector<Tensor> all;
  for (const auto& state : metric.states()) all.push_back(state.joined().clone());
  return all;
}

bool same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return a.size() == b.size();
}

class BadMetric : public GatherMetric {
 public:
  void add(const std::string& name, StateReduction reduction, at::ScalarType dtype) { add_state(name, reduction, at::zeros({}, dtype)); }
};

}  // namespace

BOOST_AUTO_TEST_CASE(states_gather_and_reset) {
  GatherMetric metric;
  const auto fresh = joined(metric);
  const auto values = at::arange(6, at::kFloat).view({3, 2});
  metric.update(values, at::arange(3));
  metric.update(values.add(10), at::arange(3, 6));
  BOOST_TEST(metric.count.value[0].item<int64_t>() == 6);
  BOOST_TEST(metric.least.value.item<double>() == 0);
  BOOST_TEST(metric.most.value.item<double>() == 15);
  BOOST_TEST(at::equal(metric.labels.joined(), at::arange(6)));
  BOOST_TEST(metric.rows.joined().size(0) == 6);
  metric.reset();
  BOOST_TEST(same(joined(metric), fresh));
  metric.update(values, at::arange(3));  // the initial values are untouched
  BOOST_TEST(metric.count.value[0].item<int64_t>() == 3);
}

// An evaluation in inference mode resets the metrics that it has logged.
BOOST_AUTO_TEST_CASE(a_reset_in_inference_mode_leaves_states_that_can_be_updated) {
  GatherMetric metric;
  const auto values = at::arange(6, at::kFloat).view({3, 2});
  {
    const c10::InferenceMode inference;
    metric.update(values, at::arange(3));
    metric.set_enabled(false);
    metric.reset();
  }
  metric.update(values, at::arange(3));
  BOOST_TEST(metric.count.value[0].item<int64_t>() == 3);
}

BOOST_AUTO_TEST_CASE(updates_of_a_disabled_metric_leave_no_trace) {
  GatherMetric metric;
  const auto values = at::arange(6, at::kFloat).view({3, 2});
  metric.update(values, at::arange(3));
  const auto before = joined(metric);
  metric.set_enabled(false);
  metric.set_enabled(false);
  metric.update(values.mul(100), at::arange(3));
  metric.update(values.mul(-100), at::arange(3));
  BOOST_TEST(!metric.enabled());
  metric.set_enabled(true);
  BOOST_TEST(same(joined(metric), before));
  metric.update(values, at::arange(3));
  BOOST_TEST(metric.count.value[0].item<int64_t>() == 6);
  metric.set_enabled(false);
  metric.reset();
  metric.update(values, at::arange(3));
  metric.set_enabled(true);
  BOOST_TEST(same(joined(metric), joined(GatherMetric())));
}

BOOST_AUTO_TEST_CASE(states_are_saved_by_name) {
  GatherMetric metric, other;
  metric.update(at::arange(6, at::kFloat).view({3, 2}), at::arange(3));
  for (const auto& state : metric.states()) other.load_state(state.name, state.joined());
  BOOST_TEST(same(joined(metric), joined(other)));
  other.update(at::arange(2, at::kFloat).view({1, 2}), at::arange(1));
  BOOST_TEST(metric.count.value[0].item<int64_t>() == 3);  // a copy
  check_throws<DataError>([&] { other.load_state("cuont", at::ones({2}, at::kLong)); }, {"cuont"});
  check_throws<DataError>([&] { other.load_state("count", at::ones({3}, at::kLong)); }, {"\"count\"", "[3] Long", "[2] Long"});
}

BOOST_AUTO_TEST_CASE(bad_states) {
  BadMetric metric;
  check_throws<UsageError>([&] { metric.add("a", StateReduction::sum, at::kFloat); }, {"\"a\"", "Float", "float64"});
  check_throws<UsageError>([&] { metric.add("a", StateReduction::min, at::kLong); }, {"\"a\"", "Long"});
  check_throws<UsageError>([&] { metric.add("count", StateReduction::sum, at::kLong); }, {"two states", "\"count\""});
  check_throws<UsageError>([&] { metric.add("a", StateReduction::concatenate, at::kLong); }, {"add_rows"});
}

BOOST_AUTO_TEST_SUITE_END()
