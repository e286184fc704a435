#include "levin/callbacks/weight_averaging.h"

#include <ATen/ops/zeros_like.h>
#include <torch/nn/modules/batchnorm.h>

#include "check_all_throw.h"
#include "counting_stream.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/ema_weight_averaging.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/callbacks/stochastic_weight_averaging.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::EMAWeightAveraging;
using levin::EMAWeightAveragingConfig;
using levin::StochasticWeightAveraging;
using levin::StochasticWeightAveragingConfig;
using levin::WeightAveraging;

BOOST_AUTO_TEST_SUITE(callbacks_weight_averaging)

namespace {

std::vector<levin::StrategyConfig> strategies() {
  return {levin::DDP{}, levin::DDP{.share_parameters = levin::ShareParameters::none}, levin::Zero1{}, levin::Zero2{}, levin::FSDP{},
          levin::HSDP{}};
}

struct Averaged {
  std::vector<double> values, validated, evaluated;  // after the fit; in the last validation; of the last checkpoint in a test
  std::vector<double> rates;                         // of the epochs
};

/// Trains up to an epoch, from the newest checkpoint of a folder.
Averaged train(const levin::StrategyConfig& strategy, const std::function<std::shared_ptr<levin::Callback>()>& averaging, int64_t epochs,
               int64_t max_steps = -1, const std::filesystem::path& folder = {}) {
  Averaged result;
  auto config = reference_config(epochs);
  config.session.strategy = strategy;
  config.max_steps = max_steps;
  ReferenceData data;
  levin::Trainer trainer(config, runtime());
  auto& cpu = trainer.session().communicator().cpu();
  if (averaging) trainer.add_callback(averaging());
  trainer.add_callback(std::make_shared<levin::LambdaCallback>(
      levin::LambdaHooks{.on_train_epoch_start = [&](auto& caller, auto&) { result.rates.push_back(caller.session().learning_rate()); },
                         .on_validation_epoch_start = [&](auto& caller, auto&) { result.validated = values_of(caller.session()); }}));
  levin::NewestCheckpoint newest;
  if (!folder.empty()) {
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder, .save_top_k = -1}));
    newest = levin::newest_checkpoint(folder, cpu);
  }
  const auto module = trainer.build<ReferenceToy>();
  trainer.fit(*module, data, {newest.reader.get()});
  result.values = values_of(trainer.session());
  if (folder.empty()) return result;
  const auto saved = levin::newest_checkpoint(folder, cpu);
  levin::Trainer evaluating(config, runtime());
  const auto loaded = evaluating.build<ReferenceToy>();
  evaluating.test(*loaded, data, {saved.reader.get()});
  result.evaluated = values_of(evaluating.session());
  return result;
}

std::shared_ptr<levin::Callback> make_ema() {
  return std::make_shared<EMAWeightAveraging>(EMAWeightAveragingConfig{.decay = 0.9, .update_every_n_steps = 2});
}

std::shared_ptr<levin::Callback> make_swa() {
  return std::make_shared<StochasticWeightAveraging>(StochasticWeightAveragingConfig{
      .swa_epoch_start = levin::Limit::batches(3), .annealing_epochs = 2, .annealing_strategy = levin::AnnealingStrategy::linear});
}

void check_equal(const std::vector<double>& values, const std::vector<double>& expected) {
  BOOST_TEST(values == expected, boost::test_tools::per_element());
}

}  // namespace

BOOST_AUTO_TEST_CASE(averages_are_those_of_lightning_under_every_strategy) {
  for (const auto& strategy : strategies()) {
    const auto average = train(
        strategy, [] { return std::make_shared<WeightAveraging>(); }, 4);
    check_recorded(average.values, "average");
    check_recorded(average.validated, "average_validated");
    const auto ema = train(strategy, make_ema, 4);
    check_recorded(ema.values, "ema");
    check_recorded(ema.validated, "ema_validated");
  }
  const auto late = train(
      levin::DDP{},
      [] { return std::make_shared<EMAWeightAveraging>(EMAWeightAveragingConfig{.decay = 0.9, .update_starting_at_step = 6}); }, 4);
  check_recorded(late.values, "ema_late");
  check_recorded(late.validated, "ema_late_validated");
}

// A checkpoint is evaluated as the average, and resumes as what was trained: otherwise the end would differ.
BOOST_AUTO_TEST_CASE(a_training_resumes_with_its_averages_and_its_parameters) {
  for (const auto& strategy : strategies()) {
    const FolderOfRanks folder;
    const auto half = train(strategy, make_ema, 2, -1, folder.path);
    check_equal(half.evaluated, half.values);
    const auto part = train(strategy, make_ema, 4, 10, folder.path);  // in the middle of an epoch
    BOOST_TEST(part.values != half.values);
    const auto whole = train(strategy, make_ema, 4, -1, folder.path);
    check_recorded(whole.values, "ema");
    check_equal(whole.evaluated, whole.values);
    const auto again = train(strategy, make_ema, 4, -1, folder.path);  // is complete
    check_equal(again.values, whole.values);
    const auto plain = train(strategy, nullptr, 5, -1, folder.path);  // continues from what was trained
    check_recorded(plain.values, "plain");
  }
}

BOOST_AUTO_TEST_CASE(stochastic_averages_are_those_of_lightning) {
  for (const auto& strategy : strategies()) {
    const FolderOfRanks folder;
    const auto swa = train(strategy, make_swa, 6);
    check_recorded(swa.values, "swa_linear");
    check_recorded(swa.rates, "swa_linear_rates");
    train(strategy, make_swa, 6, 4 * 4, folder.path);  // four epochs
    train(strategy, make_swa, 6, 4 * 4 + 2, folder.path);
    const auto resumed = train(strategy, make_swa, 6, -1, folder.path);
    check_recorded(resumed.values, "swa_linear");
    check_equal(resumed.evaluated, resumed.values);
    const auto again = train(strategy, make_swa, 6, -1, folder.path);  // is complete
    check_equal(again.values, resumed.values);
    const auto unlimited = train(strategy, make_swa, -1, 6 * 4, folder.path);  // is complete
    check_equal(unlimited.values, resumed.values);
  }
}

// max_steps ends it with an epoch. The checkpoint of that epoch's end precedes the averages' becoming the model, and is made again.
BOOST_AUTO_TEST_CASE(a_training_without_max_epochs_ends_as_its_average_and_saves_it) {
  const FolderOfRanks folder;
  const auto swa = train(levin::DDP{}, make_swa, -1, 6 * 4, folder.path);
  check_recorded(swa.values, "swa_linear");
  check_equal(swa.evaluated, swa.values);
  const auto again = train(levin::DDP{}, make_swa, -1, 6 * 4, folder.path);  // is complete
  check_equal(again.values, swa.values);
}

// The average becomes the model at the last epoch's end, and at no other.
BOOST_AUTO_TEST_CASE(a_training_on_a_stream_ends_as_its_average) {
  struct Data : levin::DataModule {  // five batches
    levin::DataLoaderSpec train_dataloader() override { return {train, {.batch_size = 3}}; }
    std::shared_ptr<CountingStream> train = std::make_shared<CountingStream>(std::vector<int64_t>{15, 15, 15});
  };
  for (const auto& unreached : {levin::Limit::fraction(1), levin::Limit::batches(1000)})
    for (const int64_t max_steps : {-1, 20, 17}) {
      Data data;
      auto config = reference_config(4);
      config.limit_train_batches = unreached;
      config.max_steps = max_steps;
      levin::Trainer trainer(config, runtime());
      std::vector<double> trained, ended;
      trainer.add_callback(std::make_shared<levin::LambdaCallback>(
          levin::LambdaHooks{.on_train_epoch_end = [&](auto& caller, auto&) { trained = values_of(caller.session()); }}));
      trainer.add_callback(make_swa());
      trainer.on(levin::Event::train_epoch_end, [&] { ended = values_of(trainer.session()); });
      const auto module = trainer.build<ReferenceToy>();
      trainer.fit(*module, data);
      BOOST_TEST((ended != trained) == (max_steps != 17));
      check_equal(values_of(trainer.session()), ended);
    }
}

BOOST_AUTO_TEST_CASE(a_cosine_anneals_as_torch) {
  std::vector<double> rates;
  for (int64_t epoch = 0; epoch < 5; epoch++) {
    const double part = StochasticWeightAveraging::annealed(levin::AnnealingStrategy::cos, epoch, 3);
    rates.push_back(0.01 * part + 0.05 * (1 - part));
  }
  check_recorded(rates, "swalr_cos");
  BOOST_TEST(StochasticWeightAveraging::annealed(levin::AnnealingStrategy::linear, 0, 0) == 1);
}

namespace {

// The layer sees the data themselves.
struct Normalized : ReferenceToy {
  Normalized() { norm = register_module("norm", torch::nn::BatchNorm1d(4)); }
  levin::Tensor training_step(const levin::Batch& batch) override {
    const auto loss = at::mse_loss(net(norm(batch["x"])), batch["y"]);
    log("train_loss", loss, {.on_step = false, .on_epoch = true});
    return loss;
  }
  void validation_step(const levin::Batch&) override {}
  torch::nn::BatchNorm1d norm{nullptr};
};

template <class Model>
std::shared_ptr<Model> averaged_with_norm(levin::DataModule& data, bool sync_batchnorm = false) {
  auto config = reference_config(4);
  config.session.sync_batchnorm = sync_batchnorm;
  levin::Trainer trainer(config, runtime());
  trainer.add_callback(make_swa());
  const auto module = trainer.build<Model>();
  trainer.fit(*module, data);
  return module;
}

// The data of a training, [samples, 4].
levin::Tensor reference_inputs(int64_t samples) { return at::sin(at::arange(samples * 4, at::kFloat)).to(at::kDouble).view({samples, 4}); }

void check_close(const levin::Tensor& values, const levin::Tensor& expected) {
  BOOST_TEST((values - expected).abs().max().item<double>() < 1e-12);
}

}  // namespace

// The mean is that of all samples, the variance the mean of the micro-batches' variances.
BOOST_AUTO_TEST_CASE(statistics_of_batch_normalization_are_computed_anew) {
  ReferenceData data;
  const auto module = averaged_with_norm<Normalized>(data);
  BOOST_TEST(module->norm->options.momentum().value() == 0.1);
  const levin::Tensor x = reference_inputs(48);
  check_close(module->norm->running_mean, x.mean(0));
  const int64_t ranks = runtime().size();
  check_close(module->norm->running_var, x.view({4 * ranks, 12 / ranks, 4}).var(1, /*unbiased=*/true).mean(0));
  BOOST_TEST(module->norm->num_batches_tracked.item<int64_t>() == 4);
}

BOOST_AUTO_TEST_CASE(synchronized_statistics_are_those_of_all_ranks_batches) {
  ReferenceData data;
  const auto module = averaged_with_norm<Normalized>(data, /*sync_batchnorm=*/true);
  const levin::Tensor x = reference_inputs(48);
  check_close(module->norm->running_mean, x.mean(0));
  check_close(module->norm->running_var, x.view({4, 12, 4}).var(1, /*unbiased=*/true).mean(0));
  BOOST_TEST(module->norm->num_batches_tracked.item<int64_t>() == 4);
}

// torch's update_bn would give the last batch, of six samples, the weight of one of eight.
BOOST_AUTO_TEST_CASE(a_batch_counts_by_its_samples_and_a_layer_by_its_calls) {
  struct Twice : Normalized {
    levin::Tensor training_step(const levin::Batch& batch) override {
      return at::mse_loss(net(norm(batch["x"]) + norm(2 * batch["x"])), batch["y"]);
    }
  };
  ToyData data({.global_batch_size = 8, .shuffle = false}, 30, 11);
  const auto module = averaged_with_norm<Twice>(data, /*sync_batchnorm=*/true);
  const levin::Tensor x = reference_inputs(30);
  check_close(module->norm->running_mean, 1.5 * x.mean(0));
  levin::Tensor variance = at::zeros_like(module->norm->running_var);
  for (int64_t first = 0; first < 30; first += 8) {
    const int64_t samples = std::min<int64_t>(8, 30 - first);
    variance += x.narrow(0, first, samples).var(0, /*unbiased=*/true) * 2.5 * static_cast<double>(samples) / 30;
  }
  check_close(module->norm->running_var, variance);
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  const auto refused = [](const std::vector<std::shared_ptr<levin::Callback>>& callbacks, const std::string& words, int64_t epochs = 1) {
    ReferenceData data;
    levin::Trainer trainer(reference_config(epochs), runtime());
    for (const auto& callback : callbacks) trainer.add_callback(callback);
    const auto module = trainer.build<ReferenceToy>();
    check_all_throw<levin::Error>([&] { trainer.fit(*module, data); }, {words});
  };
  refused({make_ema(), make_swa()}, "2 callbacks average the weights");
  check_throws<levin::ConfigError>([] { EMAWeightAveraging({.decay = 1.5}); }, {"decay"});
  check_throws<levin::ConfigError>([] { StochasticWeightAveraging({.swa_epoch_start = levin::Limit::batches(0)}); },
                                   {"swa_epoch_start is 0"});
}

BOOST_AUTO_TEST_SUITE_END()
