// reload_dataloaders_every_n_epochs, use_distributed_sampler and inference_mode.
#include <ATen/ops/relu.h>
#include <torch/nn/modules/batchnorm.h>

#include <algorithm>
#include <numeric>

#include "check_all_throw.h"
#include "counting_stream.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/ema_weight_averaging.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "levin/session/checkpoints.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_loader_options)

namespace {

/// Notes the epochs in which it is asked for its loaders; those of a later epoch have more samples.
struct GrowingData : ToyData {
  levin::DataLoaderSpec train_dataloader() override {
    asked.push_back(trainer().current_epoch());
    return {make(16 + 8 * trainer().current_epoch()), options};
  }
  levin::DataLoaderSpec val_dataloader() override {
    validation_asked.push_back(trainer().current_epoch());
    return ToyData::val_dataloader();
  }
  std::vector<int64_t> asked, validation_asked;
};

struct NormedBlockImpl : levin::Unit<levin::Tensor(levin::Tensor)> {
  NormedBlockImpl()
      : linear(register_module("linear", torch::nn::Linear(4, 6))), norm(register_module("norm", torch::nn::BatchNorm1d(6))) {}
  levin::Tensor compute(levin::Tensor x) override { return at::relu(norm(linear(x))); }
  torch::nn::Linear linear;
  torch::nn::BatchNorm1d norm;
};
LEVIN_UNIT(NormedBlock);

/// With a unit, buffers and a metric.
struct NormedToy : Toy {
  NormedToy() {
    block = register_module("block", NormedBlock());
    head = register_module("head", torch::nn::Linear(6, 1));
  }
  levin::Tensor outputs(const levin::Batch& batch) { return net(batch["x"]) + head(block(batch["x"])); }
  levin::Tensor training_step(const levin::Batch& batch) override {
    const levin::Tensor loss = at::mse_loss(outputs(batch), batch["y"]);
    losses.push_back(loss.item<double>());
    return loss;
  }
  void validation_step(const levin::Batch& batch) override {
    const levin::Tensor predicted = outputs(batch);
    inferred.push_back(predicted.is_inference());
    mean_index_.update(batch["index"]);
    log("val_loss", at::mse_loss(predicted, batch["y"]));
    log("mean_index", mean_index_);
  }
  NormedBlock block{nullptr};
  torch::nn::Linear head{nullptr};
  std::vector<bool> inferred;
};

struct TrainedToy {
  std::vector<double> losses, parameters;
  levin::NamedValues metrics;
};

/// Validates before the first step and in every epoch, as the moving average of the model.
TrainedToy train_with_validations(const levin::SessionConfig& session, bool inference_mode) {
  ToyData data({.global_batch_size = 8}, 40, 10);  // the last two samples: a padding batch on a third rank
  levin::Trainer trainer({.session = session, .max_epochs = 3, .inference_mode = inference_mode}, runtime(), 5);
  trainer.add_callback(std::make_shared<levin::EMAWeightAveraging>(levin::EMAWeightAveragingConfig{.decay = 0.5}));
  const auto model = trainer.build<NormedToy>();
  trainer.fit(*model, data);
  TrainedToy trained{.losses = model->losses, .parameters = {}, .metrics = trainer.report().metrics};
  BOOST_TEST(!model->inferred.empty());
  BOOST_TEST(std::count(model->inferred.begin(), model->inferred.end(), !inference_mode) == 0);
  trainer.session().read_parameters([&](const std::string& name, const levin::Tensor& parameter) {
    BOOST_TEST(!parameter.is_inference(), name);
    const levin::Tensor values = parameter.to(at::kDouble).contiguous();
    trained.parameters.insert(trained.parameters.end(), values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel());
  });
  for (const auto& item : model->named_buffers()) BOOST_TEST(!item.value().is_inference(), item.key());
  return trained;
}

}  // namespace

BOOST_AUTO_TEST_CASE(loaders_are_reloaded_every_n_epochs) {
  const std::vector<int64_t> once{0}, second{0, 2, 4}, every{0, 1, 2, 3, 4};
  const int64_t steps[] = {5 * 2, 2 + 2 + 4 + 4 + 6, 2 + 3 + 4 + 5 + 6};
  for (const int64_t n : {0, 2, 1}) {
    GrowingData data;
    const auto fitted = fit({.max_epochs = 5, .num_sanity_val_steps = 0, .reload_dataloaders_every_n_epochs = n}, data);
    const auto& expected = n == 0 ? once : n == 2 ? second : every;
    BOOST_TEST(data.asked == expected, boost::test_tools::per_element());
    BOOST_TEST(data.validation_asked == expected, boost::test_tools::per_element());
    BOOST_TEST(fitted.trainer->global_step() == steps[n == 0 ? 0 : n == 2 ? 1 : 2]);
  }
}

// In the middle of a period a resumed training has the loaders that it would have had.
BOOST_AUTO_TEST_CASE(a_resumed_training_has_the_loaders_of_its_epoch) {
  const auto run = [](const std::filesystem::path& path, int64_t epochs, const levin::LoadFrom& from) {
    GrowingData data;
    levin::Trainer trainer({.max_epochs = epochs, .num_sanity_val_steps = 0, .reload_dataloaders_every_n_epochs = 2}, runtime(), 5);
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = path, .save_top_k = -1}));
    const auto model = trainer.build<Toy>();
    trainer.fit(*model, data, from);
    return std::pair(model->losses, data.asked);
  };
  const FolderOfRanks folder, other;
  const auto unbroken = run(other.path, 4, {}).first;
  run(folder.path, 3, {});
  const auto host = levin::Communicator::create_cpu(runtime());
  const levin::CheckpointReader after_epoch_3(folder.path / "step=000008", *host);
  const auto [losses, asked] = run(folder.path, 4, {.checkpoint = &after_epoch_3});
  const std::vector<int64_t> expected{2};
  BOOST_TEST(asked == expected, boost::test_tools::per_element());
  BOOST_TEST(losses == std::vector<double>(unbroken.end() - 4, unbroken.end()), boost::test_tools::per_element());
}

// What is left of a schedule is measured anew by the loaders of each period, also where a training resumes in the middle of one.
BOOST_AUTO_TEST_CASE(schedules_follow_reloaded_data) {
  struct Observed : Toy {
    Observed() { spec.lr_scheduler = levin::OneCycleLR{}; }
    void on_train_batch_start(const levin::Batch&, int64_t) override {
      rates.push_back(trainer().session().learning_rate());
      totals.push_back(trainer().session().progress().total_steps);
    }
    std::vector<double> rates;
    std::vector<int64_t> totals;
  };
  const FolderOfRanks folder, other;
  const auto host = levin::Communicator::create_cpu(runtime());
  const auto run = [](const std::filesystem::path& path, const levin::LoadFrom& from) {
    GrowingData data;
    levin::Trainer trainer({.max_epochs = 4, .num_sanity_val_steps = 0, .reload_dataloaders_every_n_epochs = 2}, runtime(), 5);
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{
        .dirpath = path, .save_top_k = -1, .every_n_train_steps = levin::AutoCount{1}, .in_background = false}));
    const auto model = trainer.build<Observed>();
    trainer.fit(*model, data, from);
    return model;
  };
  const auto unbroken = run(other.path, {});  // 2, 2, 4 and 4 steps
  const std::vector<int64_t> totals{8, 8, 8, 8, 12, 12, 12, 12, 12, 12, 12, 12};
  BOOST_TEST(unbroken->totals == totals, boost::test_tools::per_element());
  for (const int64_t step : {3, 4, 6, 9}) {
    const levin::CheckpointReader saved(other.path / levin::Checkpoints::name_of_step(step), *host);
    const auto resumed = run(folder.path / std::to_string(step), {.checkpoint = &saved});
    BOOST_TEST(resumed->rates == std::vector<double>(unbroken->rates.begin() + step, unbroken->rates.end()),
               boost::test_tools::per_element());
    BOOST_TEST(resumed->totals == std::vector<int64_t>(totals.begin() + step, totals.end()), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(each_rank_may_have_its_own_part_of_the_data) {
  struct OwnData : ToyData {
    void setup(levin::Stage) override {
      const int64_t samples = 12 + (uneven ? runtime().rank() : 0);
      train = val = make(samples);
    }
    bool uneven = false;
  };
  OwnData data;
  data.options = {.batch_size = 4};
  const auto fitted = fit({.max_epochs = 2, .num_sanity_val_steps = 0, .use_distributed_sampler = false}, data);
  BOOST_TEST(fitted.trainer->global_step() == 6);
  BOOST_TEST(fitted.trainer->report().samples == 24 * runtime().size());
  auto seen = fitted.module->trained_on;
  std::sort(seen.begin(), seen.end());
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 12; i++) expected.insert(expected.end(), {i, i});
  BOOST_TEST(seen == expected, boost::test_tools::per_element());
  check_throws<levin::ConfigError>([&] { fitted.trainer->predict(*fitted.module, data); }, {"predictions are numbered"});
  data.options = {.global_batch_size = 8};
  check_throws<levin::ConfigError>([&] { fit({.use_distributed_sampler = false}, data); }, {"global_batch_size", "set batch_size"});
  if (runtime().size() == 1) return;
  data.options = {.batch_size = 4};
  data.uneven = true;
  check_throws<levin::ConfigError>([&] { fit({.use_distributed_sampler = false}, data); },
                                   {"rank 0 has 12 samples, rank 1 has 13", "set use_distributed_sampler to true"});
}

// Ranks open their parts of a stream, so it needs no other setting.
BOOST_AUTO_TEST_CASE(a_stream_is_cut_by_its_ranks_already) {
  struct StreamData : levin::DataModule {
    levin::DataLoaderSpec train_dataloader() override {
      return {std::make_shared<CountingStream>(std::vector<int64_t>{6, 9, 12}), {.batch_size = 3}};
    }
  };
  const auto train = [](bool use_distributed_sampler) {
    StreamData data;
    levin::Trainer trainer({.max_epochs = 1, .use_distributed_sampler = use_distributed_sampler}, runtime(), 5);
    const auto model = trainer.build<Toy>();
    trainer.fit(*model, data);
  };
  check_throws<levin::ConfigError>([&] { train(false); }, {"the data are a stream", "set it to true"});
  train(true);
}

BOOST_AUTO_TEST_CASE(parts_of_ranks_and_one_order_do_not_mix_on_resume) {
  const FolderOfRanks folder;
  const auto train = [&](int64_t epochs, bool use_distributed_sampler, const levin::LoadFrom& from) {
    ToyData data({.batch_size = 4}, 24, 24);
    levin::Trainer trainer({.max_epochs = epochs, .num_sanity_val_steps = 0, .use_distributed_sampler = use_distributed_sampler}, runtime(),
                           5);
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder.path}));
    const auto model = trainer.build<Toy>();
    trainer.fit(*model, data, from);
  };
  train(1, false, {});
  const auto host = levin::Communicator::create_cpu(runtime());
  const levin::CheckpointReader saved(folder.path / levin::Checkpoints::name_of_step(6), *host);
  check_all_throw<levin::ConfigError>([&] { train(2, true, {.checkpoint = &saved}); },
                                      {"each rank's part of the data", "one order", "the use_distributed_sampler of the run"});
  train(2, false, {.checkpoint = &saved});
}

BOOST_AUTO_TEST_CASE(evaluations_may_run_in_inference_mode) {
  struct Observed : Toy {
    void validation_step(const levin::Batch& batch) override {
      inference.push_back(net(batch["x"]).is_inference());
      Toy::validation_step(batch);
    }
    std::vector<bool> inference;
  };
  std::vector<double> losses[2];
  for (const bool on : {false, true}) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = 2, .inference_mode = on}, runtime(), 5);
    const auto model = trainer.build<Observed>();
    trainer.fit(*model, data);
    BOOST_TEST(!model->inference.empty());
    BOOST_TEST(std::all_of(model->inference.begin(), model->inference.end(), [&](bool seen) { return seen == on; }));
    losses[on] = model->losses;
    BOOST_TEST(trainer.predict(*model, data).size() > 0u);
  }
  BOOST_TEST(losses[0] == losses[1], boost::test_tools::per_element());
}

// Units are gathered, averages shown and metrics reset in the mode; the training that follows is the same bit for bit.
BOOST_AUTO_TEST_CASE(inference_mode_changes_no_training_under_any_strategy) {
  const levin::ShardingOptions apart{.share_parameters = levin::ShareParameters::none};
  levin::ShardingOptions groups = apart;
  groups.shard_group_size = runtime().size() % 2 == 0 ? 2 : 1;
  std::vector<levin::SessionConfig> sessions;
  for (const levin::StrategyConfig& strategy :
       {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::DDP{levin::ShareParameters::none}),
        levin::StrategyConfig(levin::Zero1{.sharding = apart}), levin::StrategyConfig(levin::Zero2{.sharding = apart}),
        levin::StrategyConfig(levin::FSDP{}), levin::StrategyConfig(levin::FSDP{.sharding = apart}),
        levin::StrategyConfig(levin::HSDP{.sharding = groups})})
    sessions.push_back({.strategy = strategy});
  sessions.push_back({.strategy = levin::FSDP{}, .precision = levin::Precision::bfloat16_mixed});
  sessions.push_back({.strategy = levin::FSDP{}, .activation_checkpointing = levin::ActivationCheckpointing::units});
  for (const auto& session : sessions) {
    const auto without = train_with_validations(session, false), with = train_with_validations(session, true);
    BOOST_TEST(with.losses == without.losses, boost::test_tools::per_element());
    BOOST_TEST(with.parameters == without.parameters, boost::test_tools::per_element());
    BOOST_REQUIRE(levin::find_value(without.metrics, "val_loss"));
    for (const auto& [name, value] : without.metrics) BOOST_TEST(*levin::find_value(with.metrics, name) == value, name);
  }
}

BOOST_AUTO_TEST_SUITE_END()
