#include "levin/callbacks/batch_size_finder.h"

#include <ATen/ops/ones.h>
#include <torch/nn/modules/batchnorm.h>

#include <new>
#include <string>

#include "check_all_throw.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::BatchSizeFinder;
using levin::BatchSizeFinderConfig;
using levin::BatchSizeMode;

BOOST_AUTO_TEST_SUITE(callbacks_batch_size_finder)

namespace {

constexpr levin::Bytes budget{20'000'000};

// A step needs 512 KiB a sample, on the last rank `factor` times as much, and one of more than `most` samples there no memory at all.
struct HungryToy : ReferenceToy {
  levin::Tensor training_step(const levin::Batch& batch) override {
    const bool last = runtime().rank() == runtime().size() - 1;
    largest = std::max(largest, batch.size());
    if (last && stops) trainer().session().request_stop(levin::StopReason::terminated);
    if (last && batch.size() > most) throw std::bad_alloc();
    const auto needed = at::ones({batch.size() * (last ? factor : 1), 1 << 17}, at::kFloat);
    return at::mse_loss(net(batch["x"]), batch["y"]) + needed.sum() * 0;
  }
  void validation_step(const levin::Batch&) override {}
  int64_t factor = 1, most = 1 << 20, largest = 0;
  bool stops = false;
};

struct NormedHungryToy : HungryToy {
  NormedHungryToy() { norm = register_module("norm", torch::nn::BatchNorm1d(2)); }
  levin::Tensor training_step(const levin::Batch& batch) override {
    return HungryToy::training_step(batch) + norm(batch["x"].view({-1, 2, 2})).sum() * 0;  // two values of one sample
  }
  torch::nn::BatchNorm1d norm{nullptr};
};

// Its batch normalization refuses one sample.
struct OneValueToy : HungryToy {
  OneValueToy() { norm = register_module("norm", torch::nn::BatchNorm1d(4)); }
  levin::Tensor training_step(const levin::Batch& batch) override { return HungryToy::training_step(batch) + norm(batch["x"]).sum() * 0; }
  torch::nn::BatchNorm1d norm{nullptr};
};

struct ManySamples : ToyData {
  explicit ManySamples(int64_t batch_size, int64_t samples = 400) : ToyData({.batch_size = batch_size}, samples, 12) {}
};

struct SizedTraining {
  std::vector<double> values;
  int64_t largest = 0;  // that was tried or trained on, on this rank
  std::shared_ptr<BatchSizeFinder> finder;
};

levin::TrainerConfig sized_config(int64_t epochs) {
  auto config = reference_config(epochs);
  config.session.precision = levin::Precision::float32;
  config.session.strategy = levin::DDP{};
  return config;
}

SizedTraining train_with(const levin::TrainerConfig& config, ToyData& data, const std::vector<std::shared_ptr<levin::Callback>>& callbacks,
                         const levin::LoadFrom& from = {}) {
  levin::Trainer trainer(config, runtime(), 3);
  for (const auto& callback : callbacks) trainer.add_callback(callback);
  const auto module = trainer.build<HungryToy>();
  module->spec = levin::AdamW{.lr = 0.01};
  trainer.fit(*module, data, from);
  return {values_of(trainer.session()), module->largest,
          callbacks.empty() ? nullptr : std::dynamic_pointer_cast<BatchSizeFinder>(callbacks.front())};
}

SizedTraining train_hungry(const std::shared_ptr<BatchSizeFinder>& finder, int64_t batch_size = 4,
                           const std::function<void(HungryToy&)>& change = {}, const levin::StrategyConfig& strategy = levin::DDP{},
                           int64_t epochs = 1, const std::filesystem::path& folder = {}) {
  auto config = reference_config(epochs);
  config.session.precision = levin::Precision::float32;
  config.session.strategy = strategy;
  ManySamples data(batch_size);
  levin::Trainer trainer(config, runtime(), 3);
  if (finder) trainer.add_callback(finder);
  levin::NewestCheckpoint newest;
  if (!folder.empty()) {
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder}));
    newest = levin::newest_checkpoint(folder, trainer.session().communicator().cpu());
  }
  const auto module = trainer.build<HungryToy>();
  module->spec = levin::AdamW{.lr = 0.01};
  if (change) change(*module);
  trainer.fit(*module, data, {newest.reader.get()});
  return {values_of(trainer.session()), module->largest, finder};
}

std::shared_ptr<BatchSizeFinder> search(const BatchSizeFinderConfig& config) { return std::make_shared<BatchSizeFinder>(config); }

}  // namespace

BOOST_AUTO_TEST_CASE(sizes_that_would_not_fit_are_not_tried) {
  const auto power = train_hungry(search({.memory = budget}));
  BOOST_TEST(*power.finder->optimal_batch_size() == 32);
  BOOST_TEST(power.largest == 32);  // 64 was predicted
  BOOST_TEST(power.finder->trials().back().result == "not tried");
  BOOST_TEST(power.finder->trials().back().batch_size == 64);
  const auto binsearch = train_hungry(search({.mode = BatchSizeMode::binsearch, .margin = 0, .memory = budget}));
  BOOST_TEST(*binsearch.finder->optimal_batch_size() >= 33);
  BOOST_TEST(*binsearch.finder->optimal_batch_size() <= 34);
  const auto margin = train_hungry(search({.mode = BatchSizeMode::binsearch, .margin = 0.25, .memory = budget}));
  BOOST_TEST(*margin.finder->optimal_batch_size() == *binsearch.finder->optimal_batch_size() * 3 / 4);
  // One that begins large is measured with small ones first.
  const auto large = train_hungry(search({.init_val = 128, .memory = budget}));
  BOOST_TEST(large.largest <= 64);
}

BOOST_AUTO_TEST_CASE(batch_normalization_may_refuse_one_sample) {
  const auto found = [](const BatchSizeFinderConfig& config) {
    const auto finder = search(config);
    levin::Trainer trainer(sized_config(1), runtime(), 3);
    trainer.add_callback(finder);
    const auto module = trainer.build<OneValueToy>();
    ManySamples data(4, 384);  // no batch of the training has one sample either
    trainer.fit(*module, data);
    return finder;
  };
  BOOST_TEST(*found({.max_val = 16, .memory = budget})->optimal_batch_size() == 16);
  BOOST_TEST(*found({.init_val = 8, .max_val = 16, .memory = budget})->optimal_batch_size() == 16);  // measured with small ones first
  const auto from_one = found({.init_val = 1, .max_val = 16, .memory = budget});
  BOOST_TEST(*from_one->optimal_batch_size() == 16);
  BOOST_TEST(from_one->trials().front().result == "too few samples");
  BOOST_TEST(*found({.mode = BatchSizeMode::binsearch, .margin = 0.5, .max_val = 2, .memory = budget})->optimal_batch_size() == 2);
  check_throws<levin::ConfigError>([&] { found({.memory = levin::Bytes{800'000}}); },
                                   {"batch normalization refuses 1 samples of a rank, and 2 do not fit into memory"});
  check_throws<levin::ConfigError>([&] { found({.max_val = 1}); }, {"batch normalization refuses batches of up to 1 samples"});
}

BOOST_AUTO_TEST_CASE(the_hungriest_rank_decides) {
  const auto doubled = train_hungry(search({.memory = budget}), 4, [](HungryToy& toy) { toy.factor = 2; });
  BOOST_TEST(*doubled.finder->optimal_batch_size() == 16);
}

BOOST_AUTO_TEST_CASE(a_failed_allocation_of_one_rank_counts_on_all) {
  for (const levin::StrategyConfig& strategy :
       {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::DDP{.share_parameters = levin::ShareParameters::none})})
    for (const auto mode : {BatchSizeMode::power, BatchSizeMode::binsearch}) {
      const auto trained = train_hungry(
          search({.mode = mode, .margin = 0}), 4, [](HungryToy& toy) { toy.most = 10; }, strategy);
      BOOST_TEST(*trained.finder->optimal_batch_size() == (mode == BatchSizeMode::power ? 8 : 10));
    }
}

BOOST_AUTO_TEST_CASE(the_training_is_that_of_the_found_size) {
  const auto found = train_hungry(search({.max_val = 16, .memory = budget}));
  BOOST_TEST(*found.finder->optimal_batch_size() == 16);
  BOOST_TEST(found.values == train_hungry(nullptr, 16).values, boost::test_tools::per_element());
  BOOST_TEST(found.values != train_hungry(nullptr, 4).values);
  BOOST_TEST(*train_hungry(search({.max_val = 8192}), 4, [](HungryToy& toy) { toy.most = 300; }).finder->optimal_batch_size() <= 300);
}

BOOST_AUTO_TEST_CASE(the_largest_size_is_what_the_data_can_fill) {
  const int64_t ranks = runtime().size();
  const auto found = [](const levin::TrainerConfig& config, int64_t samples, levin::DataLoaderOptions options) {
    ManySamples data(4, samples);
    options.batch_size = 4;
    data.options = options;
    return *train_with(config, data, {search({})}).finder->optimal_batch_size();
  };
  auto quarter = sized_config(1);
  quarter.limit_train_batches = levin::Limit::fraction(0.25);
  BOOST_TEST(found(quarter, 400, {}) == 133 / ranks);  // four batches: 399 samples and one
  BOOST_TEST(found(quarter, 400, {.drop_last = true}) == 100 / ranks);
  auto own_parts = sized_config(1);
  own_parts.use_distributed_sampler = false;
  BOOST_TEST(found(own_parts, 60, {}) == 60);
  BOOST_TEST(found(sized_config(1), 60, {}) == (60 + ranks - 1) / ranks);
}

// As on other ranks: what is loaded was found with six parts of a step.
BOOST_AUTO_TEST_CASE(a_training_on_other_ranks_keeps_the_samples_of_a_step) {
  struct Loads : levin::Callback {
    Loads(std::shared_ptr<BatchSizeFinder> finder, int64_t batch_size, int64_t parts) : finder_(std::move(finder)) {
      state.set("batch_size", batch_size);
      state.set("parts", parts);
    }
    void setup(levin::Stage) override { finder_->load_state_dict(state); }
    levin::StateDict state;
    std::shared_ptr<BatchSizeFinder> finder_;
  };
  const int64_t ranks = runtime().size();
  const auto train = [](int64_t batch_size, int64_t parts, int64_t accumulate) {
    auto config = sized_config(1);
    config.accumulate_grad_batches = accumulate;
    ManySamples data(4);
    const auto finder = search({});
    return train_with(config, data, {finder, std::make_shared<Loads>(finder, batch_size, parts)});
  };
  const auto divided = train(8, 6, 1);
  BOOST_TEST(divided.finder->trials().empty());
  BOOST_TEST(*divided.finder->optimal_batch_size() == 48 / ranks);
  BOOST_TEST(divided.values == train_hungry(nullptr, 48 / ranks).values, boost::test_tools::per_element());
  BOOST_TEST(divided.finder->state_dict().get<int64_t>("parts") == ranks);
  BOOST_TEST(*train(8, 6, 2).finder->optimal_batch_size() == 24 / ranks);
  BOOST_TEST(*train(8, ranks, 1).finder->optimal_batch_size() == 8);
  if (runtime().size() == 1) return;
  check_throws<levin::ConfigError>([&] { train(7, 5, 1); }, {"steps of 35 samples, 7 in each of 5 parts", "--data.global_batch_size 35"});
}

// What the error message says where ranks do not divide the samples of a step.
BOOST_AUTO_TEST_CASE(a_training_may_resume_without_the_finder) {
  const FolderOfRanks folder;
  const auto unbroken = train_hungry(search({.max_val = 16}), 4, {}, levin::DDP{}, 2);
  train_hungry(search({.max_val = 16}), 4, {}, levin::DDP{}, 1, folder.path);
  const auto config = sized_config(2);
  ManySamples data(4);
  data.options = {.global_batch_size = 16 * runtime().size()};
  const auto host = levin::Communicator::create_cpu(runtime());
  const auto newest = levin::newest_checkpoint(folder.path, *host);
  BOOST_TEST(train_with(config, data, {}, {newest.reader.get()}).values == unbroken.values, boost::test_tools::per_element());
  check_all_throw<levin::ConfigError>([&] { train_with(config, data, {search({})}, {newest.reader.get()}); },
                                      {"global_batch_size", "leave the finder out"});
}

BOOST_AUTO_TEST_CASE(a_resumed_training_keeps_the_size) {
  const FolderOfRanks folder;
  const auto unbroken = train_hungry(search({.max_val = 16}), 4, {}, levin::DDP{}, 2);
  train_hungry(search({.max_val = 16}), 4, {}, levin::DDP{}, 1, folder.path);
  const auto resumed = train_hungry(search({.max_val = 16}), 4, {}, levin::DDP{}, 2, folder.path);
  BOOST_TEST(resumed.finder->trials().empty());
  BOOST_TEST(*resumed.finder->optimal_batch_size() == 16);
  BOOST_TEST(resumed.values == unbroken.values, boost::test_tools::per_element());
}

// The step 0 checkpoint that it leaves was made with the data module's own size.
BOOST_AUTO_TEST_CASE(a_search_that_a_signal_ends_is_made_anew) {
  const FolderOfRanks folder;
  const auto unbroken = train_hungry(search({.max_val = 16}));
  const auto stopped = train_hungry(
      search({.max_val = 16}), 4, [](HungryToy& toy) { toy.stops = true; }, levin::DDP{}, 1, folder.path);
  BOOST_TEST(!stopped.finder->optimal_batch_size());
  BOOST_TEST(std::filesystem::exists(folder.path / "step=000000"));
  const auto resumed = train_hungry(search({.max_val = 16}), 4, {}, levin::DDP{}, 1, folder.path);
  BOOST_TEST(*resumed.finder->optimal_batch_size() == 16);
  BOOST_TEST(resumed.values == unbroken.values, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_cannot_be_found_is_an_error) {
  check_throws<levin::ConfigError>([] { train_hungry(search({.memory = budget}), 4, [](HungryToy& toy) { toy.factor = 50; }); },
                                   {"not even 1 samples"});
  ToyData data({.global_batch_size = 12}, 48, 12);
  levin::Trainer trainer(reference_config(1), runtime());
  trainer.add_callback(search({}));
  const auto module = trainer.build<ReferenceToy>();
  check_throws<levin::ConfigError>([&] { trainer.fit(*module, data); }, {"global_batch_size of 12"});
  if (runtime().size() == 1) return;
  // Ranks that communicate inside of a step cannot agree after one has failed there.
  const auto runs_out_of_memory = [](const std::function<void()>& training) {
    try {
      training();
      BOOST_ERROR("nothing was thrown");
    } catch (const std::exception& error) {
      BOOST_TEST(std::string(error.what()).find("out of memory") != std::string::npos, error.what());
    }
  };
  runs_out_of_memory([] {
    train_hungry(
        search({}), 4, [](HungryToy& toy) { toy.most = 10; }, levin::FSDP{.sharding = {.share_parameters = levin::ShareParameters::none}});
  });
  runs_out_of_memory([] {
    auto synchronized = reference_config(1);
    synchronized.session.sync_batchnorm = true;
    ManySamples many(4);
    levin::Trainer normed(synchronized, runtime());
    normed.add_callback(search({}));
    const auto toy = normed.build<NormedHungryToy>();
    toy->most = 10;
    normed.fit(*toy, many);
  });
}

BOOST_AUTO_TEST_SUITE_END()
