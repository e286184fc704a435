// A training whose data come from streams of unequal lengths.
#include <ATen/ops/allclose.h>

#include "check_all_throw.h"
#include "counting_stream.h"
#include "levin/core/error.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::Limit;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_streams)

namespace {

struct StreamData : levin::DataModule {
  StreamData(std::vector<int64_t> train_samples, std::vector<int64_t> val_samples, levin::DataLoaderOptions how = {.batch_size = 3})
      : train(std::make_shared<CountingStream>(std::move(train_samples))),
        val(std::make_shared<CountingStream>(std::move(val_samples))),
        options(how) {}
  levin::DataLoaderSpec train_dataloader() override { return {train, options}; }
  levin::DataLoaderSpec val_dataloader() override { return {val, options}; }
  levin::DataLoaderSpec test_dataloader() override { return {val, options}; }
  std::shared_ptr<CountingStream> train, val;
  levin::DataLoaderOptions options;
};

struct Run {
  std::unique_ptr<levin::Trainer> trainer;
  std::shared_ptr<Toy> module;
};

Run fit_streams(const TrainerConfig& config, StreamData& data) {
  Run run;
  run.trainer = std::make_unique<levin::Trainer>(config, runtime(), 5);
  run.module = run.trainer->build<Toy>();
  run.trainer->fit(*run.module, data);
  return run;
}

// Of the first `ranks` ranks.
int64_t total(const std::vector<int64_t>& samples) {
  int64_t sum = 0;
  for (int rank = 0; rank < runtime().size(); rank++) sum += samples[static_cast<size_t>(rank)];
  return sum;
}

}  // namespace

BOOST_AUTO_TEST_CASE(ranks_whose_streams_end_at_different_times_train_on_all_samples) {
  const std::vector<int64_t> train{5, 14, 9}, val{4, 2, 7};
  StreamData data(train, val);
  const auto run = fit_streams({.max_epochs = 2, .num_sanity_val_steps = 0}, data);
  const int64_t batches = runtime().size() == 1 ? 2 : 5;
  BOOST_TEST(run.trainer->global_step() == 2 * batches);
  BOOST_TEST(run.trainer->report().samples == 2 * total(train));
  double weights = 0;
  for (double weight : run.module->weights) weights += weight;
  BOOST_TEST(over_ranks(run.trainer->session(), weights) == static_cast<double>(2 * total(train)));
  // Validation has every sample once: of rank r, index 1000 r + 0, 1, ….
  double sum = 0;
  for (int rank = 0; rank < runtime().size(); rank++)
    for (int64_t i = 0; i < val[static_cast<size_t>(rank)]; i++) sum += static_cast<double>(1000 * rank + i);
  for (const auto& [name, value] : run.trainer->report().metrics)
    if (name == "mean_index") BOOST_TEST(value == sum / static_cast<double>(total(val)), boost::test_tools::tolerance(1e-6));
}

BOOST_AUTO_TEST_CASE(a_short_accumulation_at_the_end_makes_a_step) {
  StreamData data({15, 15, 15}, {3, 3, 3});
  const auto run = fit_streams({.max_epochs = 1, .accumulate_grad_batches = 2, .num_sanity_val_steps = 0}, data);
  BOOST_TEST(run.trainer->global_step() == 3);  // of 2, 2 and 1 batches
}

BOOST_AUTO_TEST_CASE(limits_and_intervals_count_batches) {
  StreamData data({1000, 1001, 1002}, {30, 20, 30});
  const auto run = fit_streams(
      {.max_steps = 7, .limit_val_batches = Limit::batches(2), .val_check_interval = Limit::batches(3), .num_sanity_val_steps = 1}, data);
  BOOST_TEST(run.trainer->global_step() == 7);
  BOOST_TEST(run.module->calls["validation_step"] == 1 + 2 * 2);
  BOOST_TEST(fit_streams({.max_epochs = 2, .limit_train_batches = Limit::batches(4)}, data).trainer->global_step() == 8);
  const auto refused = [&](const levin::TrainerConfig& config, const std::vector<std::string>& parts) {
    check_all_throw<levin::ConfigError>([&] { fit_streams(config, data); }, parts);
  };
  refused({.limit_train_batches = Limit::fraction(0.5)}, {"limit_train_batches is 0.5", "unknown"});
  refused({.limit_val_batches = Limit::fraction(0.5)}, {"limit_val_batches is 0.5"});
  refused({.val_check_interval = Limit::fraction(0.5)}, {"val_check_interval is 0.5", "unknown"});
}

BOOST_AUTO_TEST_CASE(predictions_have_numbers) {
  const std::vector<int64_t> samples{4, 2, 7};
  StreamData data({3, 3, 3}, samples);
  const auto run = fit_streams({.max_epochs = 1}, data);
  int64_t rows = 0;
  for (const auto& prediction : run.trainer->predict(*run.module, data)) {
    BOOST_TEST(prediction.rows.size(0) == static_cast<int64_t>(prediction.indices.size()));
    for (int64_t index : prediction.indices) BOOST_TEST(index == runtime().rank() + runtime().size() * rows++);
  }
  BOOST_TEST(rows == samples[static_cast<size_t>(runtime().rank())]);
}

BOOST_AUTO_TEST_CASE(a_rank_without_samples_is_named_on_all) {
  std::vector<int64_t> samples{5, 5, 5};
  samples[static_cast<size_t>(runtime().size() - 1)] = 0;
  StreamData data(samples, {3, 3, 3});
  check_throws<levin::Error>([&] { fit_streams({.max_epochs = 1, .num_sanity_val_steps = 0}, data); },
                             {"rank " + std::to_string(runtime().size() - 1), "no samples"});
}

// A stream of the last rank breaks in the middle; the others wait for its next batch.
BOOST_AUTO_TEST_CASE(a_stream_that_breaks_ends_all_ranks) {
  struct Breaking : levin::IterableDataset {
    struct Stream : levin::SampleStream {
      explicit Stream(std::unique_ptr<levin::SampleStream> source) : source_(std::move(source)) {}
      int64_t next(int64_t most, levin::Batch& into) override {
        if (++calls_ == 4) throw std::runtime_error("the socket closed");
        return source_->next(most, into);
      }
      std::unique_ptr<levin::SampleStream> source_;
      int calls_ = 0;
    };
    std::unique_ptr<levin::SampleStream> open(const levin::StreamPartition& partition) const override {
      auto stream = source.open(partition);
      return partition.rank + 1 == partition.world_size ? std::make_unique<Stream>(std::move(stream)) : std::move(stream);
    }
    CountingStream source{{100, 100, 100}};
  };
  struct Data : levin::DataModule {
    levin::DataLoaderSpec train_dataloader() override { return {std::make_shared<Breaking>(), options}; }
    levin::DataLoaderOptions options = {.batch_size = 3};
  };
  for (int64_t workers : {0, 2}) {
    Data data;
    data.options.num_workers = workers;
    levin::Trainer trainer({.max_epochs = 1}, runtime());
    const auto module = trainer.build<Toy>();
    check_throws<std::exception>([&] { trainer.fit(*module, data); }, {"the socket closed"});
    BOOST_TEST(trainer.global_step() <= 3);
  }
}

BOOST_AUTO_TEST_SUITE_END()
