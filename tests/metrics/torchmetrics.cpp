// Every metric has torchmetrics' value, and the same bits on any number of ranks.
#include <ATen/ops/equal.h>

#include <algorithm>
#include <cmath>

#include "levin/comm/communicator.h"
#include "levin/metrics/metric_registry.h"
#include "levin/metrics/metric_sync.h"
#include "levin_test.h"
#include "reference_samples.h"

using levin::Metric;
using levin::Tensor;

BOOST_AUTO_TEST_SUITE(metrics_torchmetrics)

namespace {

struct Case {
  levin::test::RecordedMetric recorded;
  Tensor predictions, targets;
};

std::vector<Case> recorded_cases() {
  const auto samples = levin::test::metric_samples();
  std::vector<Case> cases;
  for (auto& recorded : levin::test::recorded_metrics()) {
    if (recorded.metric == "sum") continue;
    const auto& [predictions, targets] = samples.at(recorded.data);
    cases.push_back({std::move(recorded), predictions, targets});
  }
  return cases;
}

Tensor value_of_all(const Case& of) {
  const auto metric = levin::make_metric(levin::metric_registry(), of.recorded.config);
  metric->update(of.predictions, of.targets);
  return metric->compute().contiguous();
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && at::equal(a.contiguous().view(at::kLong), b.contiguous().view(at::kLong));
}

/// Rows begin … end - 1, in batches.
void update_rows(levin::PredictionMetric& metric, const Case& of, int64_t begin, int64_t end) {
  constexpr int64_t batch = 17;
  for (int64_t row = begin; row < end; row += batch) {
    const auto rows = std::min(batch, end - row);
    metric.update(of.predictions.narrow(0, row, rows), of.targets.narrow(0, row, rows));
  }
}

void check_ranks(const std::vector<int64_t>& shares) {
  const auto ranks = levin::Communicator::create_cpu(levin::test::runtime());
  const auto cases = recorded_cases();
  const auto registry = levin::metric_registry();
  int64_t all_shares = 0, begin_share = 0;
  for (int rank = 0; rank < ranks->size(); ++rank) {
    if (rank == ranks->rank()) begin_share = all_shares;
    all_shares += shares[static_cast<size_t>(rank)];
  }
  std::vector<std::shared_ptr<levin::PredictionMetric>> metrics;
  std::vector<Metric*> pointers;
  for (const auto& of : cases) {
    auto metric = levin::make_metric(registry, of.recorded.config);
    const int64_t rows = of.targets.size(0), end_share = begin_share + shares[static_cast<size_t>(ranks->rank())];
    update_rows(*metric, of, rows * begin_share / all_shares, rows * end_share / all_shares);
    pointers.push_back(metric.get());
    metrics.push_back(std::move(metric));
  }
  const auto values = levin::compute_synchronised(pointers, *ranks);
  for (size_t i = 0; i < cases.size(); ++i) BOOST_CHECK_MESSAGE(same_bits(values[i], value_of_all(cases[i])), cases[i].recorded.line);
}

}  // namespace

BOOST_AUTO_TEST_CASE(values_are_those_of_torchmetrics) {
  const auto cases = recorded_cases();
  BOOST_REQUIRE_GT(cases.size(), 300);
  for (const auto& of : cases) {
    const auto value = value_of_all(of).view({-1});
    BOOST_REQUIRE_MESSAGE(value.numel() == static_cast<int64_t>(of.recorded.values.size()), of.recorded.line);
    for (int64_t i = 0; i < value.numel(); ++i) {
      const double got = value.const_data_ptr<double>()[i], right = of.recorded.values[static_cast<size_t>(i)];
      const bool same = std::isnan(right) ? std::isnan(got) : std::abs(got - right) <= 1e-12 * std::max(1.0, std::abs(right));
      BOOST_CHECK_MESSAGE(same, of.recorded.line << ": " << got);
    }
  }
}

BOOST_AUTO_TEST_CASE(any_number_of_ranks_gives_the_same_bits) { check_ranks({1, 3, 5, 7}); }

BOOST_AUTO_TEST_CASE(a_rank_without_samples_gives_the_same_bits) { check_ranks({levin::test::runtime().size() > 1 ? 0 : 1, 2, 1, 1}); }

BOOST_AUTO_TEST_SUITE_END()
