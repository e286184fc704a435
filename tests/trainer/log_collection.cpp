#include "levin/trainer/log_collection.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>

#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/metrics/confusion_matrix.h"
#include "levin/metrics/mean.h"
#include "levin_test.h"

using levin::LogCollection;
using levin::LogOptions;
using levin::ReduceFx;

BOOST_AUTO_TEST_SUITE(trainer_log_collection)

namespace {

levin::Batch batch_of(int64_t samples) { return levin::Batch{{"x", at::ones({samples})}}; }

double value_of(const levin::NamedValues& values, const std::string& name) {
  for (const auto& [other, value] : values)
    if (other == name) return value;
  BOOST_ERROR("no value " + name);
  return 0;
}

std::unique_ptr<levin::Communicator> world() { return levin::Communicator::create_cpu(levin::test::runtime()); }

}  // namespace

BOOST_AUTO_TEST_CASE(means_are_weighted_by_samples_over_ranks) {
  const auto communicator = world();
  const int rank = communicator->rank(), size = communicator->size();
  LogCollection logs(/*training=*/false);
  // Rank r logs r and 10 r for 1 + r and 2 samples.
  logs.begin_batch(batch_of(1 + rank));
  logs.log("loss", at::full({}, rank, at::kDouble), {});
  logs.begin_batch(batch_of(2));
  logs.log("loss", 10.0 * rank, {});
  double sum = 0, weight = 0;
  for (int r = 0; r < size; r++) sum += r * (1 + r) + 20 * r, weight += 3 + r;
  const auto values = logs.epoch_values(*communicator);
  BOOST_TEST(value_of(values, "loss") == sum / weight, boost::test_tools::tolerance(1e-14));
  logs.begin_batch(batch_of(1));
  logs.log("loss", 4.0, {});
  BOOST_TEST(value_of(logs.epoch_values(*communicator), "loss") == 4.0);  // the next epoch starts from zero
}

BOOST_AUTO_TEST_CASE(reduce_fx) {
  const auto communicator = world();
  const int rank = communicator->rank(), size = communicator->size();
  LogCollection logs(/*training=*/false);
  for (double step : {1.0, 2.0}) {
    logs.begin_batch(batch_of(5));
    logs.log("sum", step + rank, {.reduce_fx = ReduceFx::sum});
    logs.log("min", step + rank, {.reduce_fx = ReduceFx::min});
    logs.log("max", step + rank, {.reduce_fx = ReduceFx::max});
  }
  const auto values = logs.epoch_values(*communicator);
  BOOST_TEST(value_of(values, "sum") == 3 * size + size * (size - 1));
  BOOST_TEST(value_of(values, "min") == 1);
  BOOST_TEST(value_of(values, "max") == 2 + size - 1);
}

BOOST_AUTO_TEST_CASE(on_step_and_on_epoch_have_lightnings_defaults_and_names) {
  const auto communicator = world();
  LogCollection training(true), evaluation(false);
  for (auto* logs : {&training, &evaluation}) {
    logs->begin_batch(batch_of(2));
    logs->log("plain", 1.0, {});
    logs->log("both", 2.0, {.on_step = true, .on_epoch = true});
    logs->log("hidden", 3.0, {.on_step = true, .on_epoch = true, .logger = false});
  }
  using Names = std::vector<std::string>;
  const auto names = [](const levin::NamedValues& values) {
    Names result;
    for (const auto& [name, value] : values) result.push_back(name);
    return result;
  };
  BOOST_TEST(names(training.step_values(*communicator)) == (Names{"plain", "both_step"}));
  BOOST_TEST(names(training.epoch_values(*communicator)) == (Names{"both_epoch"}));
  BOOST_TEST(names(evaluation.step_values(*communicator)) == (Names{"both_step"}));
  BOOST_TEST(names(evaluation.epoch_values(*communicator)) == (Names{"plain", "both_epoch"}));
}

BOOST_AUTO_TEST_CASE(a_filler_counts_nowhere) {
  const auto communicator = world();
  LogCollection logs(true);
  levin::Batch batch = batch_of(2);
  batch.set_padding(communicator->rank() != 0);
  logs.begin_batch(batch);
  logs.log("loss", communicator->rank() == 0 ? 7.0 : 1e9, {.on_epoch = true});
  BOOST_TEST(value_of(logs.step_values(*communicator), "loss_step") == 7);
  BOOST_TEST(value_of(logs.epoch_values(*communicator), "loss_epoch") == 7);
}

BOOST_AUTO_TEST_CASE(metrics_are_computed_over_ranks_and_reset) {
  const auto communicator = world();
  LogCollection logs(false);
  levin::Mean mean;
  mean.update(communicator->rank());
  logs.log("mean", mean, {});
  BOOST_TEST(value_of(logs.epoch_values(*communicator), "mean") == (communicator->size() - 1) / 2.0);
  mean.update(5.0);
  BOOST_TEST(mean.compute().item<double>() == 5.0);
}

BOOST_AUTO_TEST_CASE(prog_bar_shows_the_newest) {
  LogCollection logs(true);
  logs.begin_batch(batch_of(1));
  logs.log("shown", 1.0, {.prog_bar = true});
  logs.log("other", 2.0, {});
  logs.log("shown", 3.0, {.prog_bar = true});
  BOOST_TEST(logs.progress_bar().size() == 1u);
  BOOST_TEST(value_of(logs.progress_bar(), "shown") == 3.0);
}

BOOST_AUTO_TEST_CASE(mistakes_are_named) {
  LogCollection logs(true);
  levin::Mean mean;
  levin::test::check_throws<levin::UsageError>([&] { logs.log("loss", at::ones({2, 3}), {}); }, {"log(\"loss\")", "[2, 3]"});
  levin::test::check_throws<levin::UsageError>([&] { logs.log("m", mean, {.on_step = true}); }, {"log(\"m\"", "on_step"});
  levin::ConfusionMatrix matrix({.num_classes = 2});
  logs.log("matrix", matrix, {});
  levin::test::check_throws<levin::UsageError>([&] { logs.epoch_values(*world()); }, {"log(\"matrix\"", "[2, 2]"});
}

BOOST_AUTO_TEST_SUITE_END()
