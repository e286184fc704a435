#include "levin/metrics/metric_sync.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/min.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include "counting_communicator.h"
#include "gather_metric.h"
#include "levin/metrics/accuracy.h"
#include "levin/metrics/mean.h"
#include "levin_test.h"

using levin::Metric;
using levin::MetricSync;
using levin::Tensor;
using levin::UsageError;
using levin::test::CountingCommunicator;
using levin::test::GatherMetric;

BOOST_AUTO_TEST_SUITE(metrics_metric_sync)

namespace {

// Rank r's rows: r of them, so rank 0 has none, each with other values.
Tensor values_of(int rank) { return at::arange(rank * 2, at::kFloat).view({rank, 2}).add(100 * rank); }

void update_as(GatherMetric& metric, int rank) {
  if (rank > 0) metric.update(values_of(rank), at::full({rank}, rank, at::kByte));
}

}  // namespace

BOOST_AUTO_TEST_CASE(all_metrics_travel_in_one_all_reduce) {
  CountingCommunicator ranks(levin::test::runtime());
  levin::Mean loss, other;
  levin::Accuracy accuracy;
  loss.update(ranks.rank(), ranks.rank() + 1);
  if (ranks.rank() == 0) other.update(3);  // one rank only
  accuracy.update(at::zeros({5}, at::kLong), at::full({5}, ranks.rank(), at::kLong));
  Metric* metrics[] = {&loss, &other, &accuracy};
  const auto results = levin::compute_synchronised(metrics, ranks);
  double sum = 0, weight = 0;
  for (int rank = 0; rank < ranks.size(); ++rank) {
    sum += rank * (rank + 1);
    weight += rank + 1;
  }
  BOOST_TEST(results[0].item<double>() == sum / weight);
  BOOST_TEST(results[1].item<double>() == 3);
  BOOST_TEST(results[2].item<double>() == 5.0 / (5 * ranks.size()));
  BOOST_TEST(ranks.all_reduces == (ranks.size() > 1 ? 1 : 0));
  BOOST_TEST(ranks.all_gathers == 0);
  // This rank's own values again, and summing continues.
  BOOST_TEST(loss.compute().item<double>() == ranks.rank());
  loss.update(ranks.rank(), ranks.rank() + 1);
  BOOST_TEST(levin::compute_synchronised(metrics, ranks)[0].item<double>() == sum / weight);
}

BOOST_AUTO_TEST_CASE(every_kind_of_state) {
  CountingCommunicator ranks(levin::test::runtime());
  GatherMetric metric, again;
  update_as(metric, ranks.rank() + 1);
  Metric* metrics[] = {&metric, &again};
  {
    const MetricSync sync(metrics, ranks);
    GatherMetric expected;
    for (int rank = 0; rank < ranks.size(); ++rank) update_as(expected, rank + 1);
    for (size_t i = 0; i < expected.states().size(); ++i) {
      const auto got = metric.states()[i].joined(), right = expected.states()[i].joined();
      BOOST_TEST(got.scalar_type() == right.scalar_type());
      BOOST_TEST(at::equal(got, right));
      BOOST_TEST(at::equal(again.states()[i].joined(), GatherMetric().states()[i].joined()));
    }
  }
  if (ranks.size() > 1) {
    BOOST_TEST(ranks.all_reduces == 2);
    BOOST_TEST(ranks.all_gathers == 2);
  }
  BOOST_TEST(metric.rows.joined().size(0) == ranks.rank() + 1);
  BOOST_TEST(metric.count.value[1].item<int64_t>() == ranks.rank() + 1);
}

BOOST_AUTO_TEST_CASE(a_rank_without_rows_learns_their_shape) {
  CountingCommunicator ranks(levin::test::runtime());
  GatherMetric metric;
  update_as(metric, ranks.rank());
  Metric* metrics[] = {&metric};
  {
    const MetricSync sync(metrics, ranks);
    std::vector<Tensor> all;
    for (int rank = 1; rank < ranks.size(); ++rank) all.push_back(values_of(rank));
    if (all.empty())
      BOOST_TEST(metric.rows.joined().numel() == 0);
    else
      BOOST_TEST(at::equal(metric.rows.joined(), at::cat(all)));
  }
  BOOST_TEST(metric.rows.parts.size() == (ranks.rank() > 0 ? 1U : 0U));
}

BOOST_AUTO_TEST_CASE(through_the_node_communicator) {
  const auto ranks = levin::Communicator::create_cpu(levin::test::runtime());
  levin::Accuracy accuracy;
  GatherMetric metric;
  accuracy.update(at::zeros({5}, at::kLong), at::full({5}, ranks->rank(), at::kLong));
  update_as(metric, ranks->rank() + 1);
  Metric* metrics[] = {&accuracy, &metric};
  const MetricSync sync(metrics, *ranks);
  std::vector<Tensor> all;
  for (int rank = 1; rank <= ranks->size(); ++rank) all.push_back(values_of(rank));
  BOOST_TEST(accuracy.compute().item<double>() == 1.0 / ranks->size());
  BOOST_TEST(at::equal(metric.rows.joined(), at::cat(all)));
  BOOST_TEST(metric.most.value.item<double>() == all.back().max().item<float>());
}

BOOST_AUTO_TEST_CASE(ranks_whose_rows_differ_are_named) {
  CountingCommunicator ranks(levin::test::runtime());
  if (ranks.size() == 1) return;
  GatherMetric metric;
  metric.update(at::ones({2, 3 + ranks.rank()}), at::zeros({2}));
  const auto before = metric.most.value.item<double>();
  Metric* metrics[] = {&metric};
  levin::test::check_throws<UsageError>([&] { MetricSync(metrics, ranks); }, {"\"rows\"", "[2, 4] Float on rank 1", "[2, 3] Float"});
  BOOST_TEST(metric.most.value.item<double>() == before);  // as it was
  BOOST_TEST(metric.rows.parts.size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_disabled_metric_is_refused) {
  CountingCommunicator ranks(levin::test::runtime());
  levin::Mean mean;
  mean.set_enabled(false);
  Metric* metrics[] = {&mean};
  levin::test::check_throws<UsageError>([&] { MetricSync(metrics, ranks); }, {"disabled"});
}

BOOST_AUTO_TEST_SUITE_END()
