#include "levin/callbacks/throughput_monitor.h"

#include <cmath>
#include <thread>

#include "../trainer/toy.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::NamedValues;
using levin::ThroughputMonitor;
using levin::ThroughputMonitorConfig;

BOOST_AUTO_TEST_SUITE(callbacks_throughput_monitor)

namespace {

// Each sample has three items and a thousand operations, and each step takes 5 ms at least; validations are long.
struct Counted : Toy, levin::CountsWork {
  explicit Counted(bool counts_samples = true) : counts_samples_(counts_samples) {
    in_step = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  }
  double items_per_batch(const levin::Batch& batch) const override { return counts_samples_ ? 3 * static_cast<double>(batch.size()) : 0; }
  double flops_per_batch(const levin::Batch& batch) const override {
    return counts_samples_ ? 1000 * static_cast<double>(batch.size()) : 0;
  }
  void validation_step(const levin::Batch& batch) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    Toy::validation_step(batch);
  }
  bool counts_samples_;
};

struct Measured {
  explicit Measured(const ThroughputMonitorConfig& how, bool counts_samples = true, levin::TrainerConfig config = {}) {
    config.max_epochs = 2;
    if (!config.barebones) config.log_every_n_steps = 2;
    levin::Trainer trainer(config, runtime());
    const auto monitor = std::make_shared<ThroughputMonitor>(how);
    const auto logger = std::make_shared<MemoryLogger>();
    trainer.add_callback(monitor);
    trainer.add_logger(logger);
    ToyData data;  // five steps an epoch, of eight samples
    const auto module = trainer.build<Counted>(counts_samples);
    const auto begin = std::chrono::steady_clock::now();
    trainer.fit(*module, data);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    without_validation = took.count() - 0.1 * module->calls["validation_step"];
    values = trainer.report().metrics;
    available = monitor->available_flops();
    for (const auto& row : logger->rows)
      if (levin::find_value(row.values, "train/time")) steps.push_back(row.step);
  }
  double of(const std::string& name) const {
    const double* value = levin::find_value(values, name);
    BOOST_TEST_REQUIRE(value != nullptr, name);
    return *value;
  }
  NamedValues values;
  double available = 0, without_validation = 0;
  std::vector<int64_t> steps;
};

}  // namespace

BOOST_AUTO_TEST_CASE(rates_are_of_all_ranks_without_validations) {
  const Measured run({.available_flops = 1e6});
  const double ranks = runtime().size();
  if (runtime().rank() == 0) BOOST_TEST(run.steps == std::vector<int64_t>({1, 3, 5, 7, 9}), boost::test_tools::per_element());
  BOOST_TEST(run.of("train/batches") == 10);
  BOOST_TEST(run.of("train/samples") == 80);
  const double seconds = run.of("train/time");
  BOOST_TEST(seconds >= 10 * 0.005);
  BOOST_TEST(seconds < run.without_validation);
  const double samples = run.of("train/samples_per_sec");
  BOOST_TEST(samples <= 8 / 0.005);
  BOOST_TEST(samples > 80 / seconds * 0.8);
  const auto near = boost::test_tools::tolerance(1e-9);
  BOOST_TEST(run.of("train/batches_per_sec") == samples * ranks / 8, boost::test_tools::tolerance(0.1));
  BOOST_TEST(run.of("train/items_per_sec") == 3 * samples, near);
  BOOST_TEST(run.of("train/flops_per_sec") == 1000 * samples, near);
  BOOST_TEST(run.of("train/device/samples_per_sec") == samples / ranks, near);
  BOOST_TEST(run.of("train/device/mfu") == 1000 * samples / ranks / 1e6, near);
  BOOST_TEST(run.available == 1e6);
}

// The first step logs its rates, too: its time counts from the resume.
BOOST_AUTO_TEST_CASE(a_training_that_resumes_within_an_epoch_has_finite_rates) {
  const FolderOfRanks folder;
  ToyData data;
  const auto train = [&](int64_t max_steps, const levin::LoadFrom& from) {
    levin::Trainer trainer({.max_epochs = 2, .max_steps = max_steps, .log_every_n_steps = 1}, runtime());
    const auto logger = std::make_shared<MemoryLogger>();
    trainer.add_callback(std::make_shared<ThroughputMonitor>(ThroughputMonitorConfig{.available_flops = 1e6}));
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder.path}));
    trainer.add_logger(logger);
    const auto module = trainer.build<Counted>();
    trainer.fit(*module, data, from);
    return logger->rows;
  };
  train(3, {});
  levin::Trainer reading({}, runtime());
  const levin::CheckpointReader reader(folder.path / "step=000003", reading.session().communicator().cpu());
  int64_t first = -1;
  double seconds = 0;
  for (const auto& [values, epoch, step] : train(-1, {&reader})) {
    const double* time = levin::find_value(values, "train/time");
    if (!time) continue;
    for (const auto& [name, value] : values) BOOST_TEST(std::isfinite(value), name << " in step " << step);
    if (first < 0) first = step, seconds = *time;
  }
  if (runtime().rank() != 0) return;
  BOOST_TEST(first == 3);
  BOOST_TEST(seconds >= 0.005);
}

BOOST_AUTO_TEST_CASE(the_peak_throughput_of_a_rank_is_measured) {
  const Measured run({.window_size = 1});
  BOOST_TEST(run.available > 1e8);
  BOOST_TEST(run.available < 1e15);
  BOOST_TEST(run.of("train/device/mfu") == run.of("train/device/flops_per_sec") / run.available, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(quantities_that_the_module_does_not_count_are_not_logged) {
  const Measured run({}, /*says=*/false);
  BOOST_TEST(run.of("train/samples_per_sec") > 0);
  for (const auto* name : {"train/items_per_sec", "train/flops_per_sec", "train/device/mfu"})
    BOOST_TEST(!levin::find_value(run.values, name), name);
  BOOST_TEST(run.available == 0);
  check_throws<levin::ConfigError>([] { Measured({}, true, {.barebones = true}); }, {"throughput monitor", "logs nothing", "barebones"});
  check_throws<levin::ConfigError>([] { ThroughputMonitor({.window_size = 0}); }, {"window_size", "at least 1"});
}

BOOST_AUTO_TEST_SUITE_END()
