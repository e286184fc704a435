// Callbacks that care for batch normalizations find those of exported models, which are operators of a graph.
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/relu.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include "fixture.h"
#include "levin/callbacks/base_finetuning.h"
#include "levin/callbacks/lambda_callback.h"
#include "levin/callbacks/stochastic_weight_averaging.h"
#include "levin/data/tensor_dataset.h"
#include "levin/exported/exported_model.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "levin/trainer/training_trial.h"

using levin::ExportedModel;
using levin::Tensor;
using levin::test::check_throws;
using levin::test::difference;
using levin::test::EagerRun;
using levin::test::fixture;
using levin::test::runtime;

using Tensors = std::map<std::string, Tensor>;

BOOST_AUTO_TEST_SUITE(exported_batch_norm)

namespace {

constexpr int64_t samples = 80, batch_size = 24;  // the last batch has 8

// All batches of the fixture's.
struct FixtureData : levin::DataModule {
  explicit FixtureData(const std::string& model) {
    const EagerRun eager(model);
    for (const std::string name : {"x", "label"}) tensors.emplace_back(name, eager["batch/" + name].flatten(0, 1));
  }
  levin::DataLoaderSpec train_dataloader() override {
    return {std::make_shared<levin::TensorDataset>(tensors), {.global_batch_size = batch_size, .shuffle = false}};
  }
  levin::Batch batch(int64_t first, int64_t count) const {
    levin::Batch batch;
    for (const auto& [name, all] : tensors) batch.set(name, all.narrow(0, first, count).clone());
    return batch;
  }
  std::vector<std::pair<std::string, Tensor>> tensors;
};

// The fixture "mlp" of LibTorch's modules.
struct MlpOfModules : levin::Module {
  MlpOfModules() {
    const at::NoGradGuard no_grad;
    input = register_module("input", torch::nn::Linear(6, 12));
    norm = register_module("norm", torch::nn::BatchNorm1d(12));
    output = register_module("output", torch::nn::Linear(12, 4));
    to(at::kDouble);
    const levin::ExportedProgram exported(fixture("mlp.pt2"), std::vector<std::string>());
    for (const auto& item : exported.named_parameters()) named_parameters()[item.key()].copy_(item.value());
  }
  Tensor training_step(const levin::Batch& batch) override {
    return at::cross_entropy_loss(output(at::relu(norm(input(batch["x"])))), batch["label"]);
  }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::AdamW{}}; }
  torch::nn::Linear input{nullptr}, output{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
};

levin::TrainerConfig config_of(const levin::StrategyConfig& strategy, bool sync_batchnorm) {
  levin::TrainerConfig config{.max_epochs = 4, .num_sanity_val_steps = 0};
  config.session.strategy = strategy;
  config.session.precision = levin::Precision::float64;
  config.session.sync_batchnorm = sync_batchnorm;
  return config;
}

levin::FSDP fsdp() { return {.sharding = {.share_parameters = levin::ShareParameters::none}}; }

// Parameters and buffers after a training that ends as its average.
template <class Model, class... Arguments>
Tensors averaged(const std::string& name, const levin::TrainerConfig& config, const Arguments&... arguments) {
  FixtureData data(name);
  levin::Trainer trainer(config, runtime());
  trainer.add_callback(std::make_shared<levin::StochasticWeightAveraging>(
      levin::StochasticWeightAveragingConfig{.swa_epoch_start = levin::Limit::batches(3)}));
  const auto module = trainer.build<Model>(arguments...);
  trainer.fit(*module, data);
  Tensors state;
  trainer.session().read_parameters([&](const std::string& key, const Tensor& tensor) { state[key] = tensor.detach().clone(); });
  for (const auto& item : module->named_buffers()) state[item.key()] = item.value().detach().clone();
  return state;
}

Tensors averaged_export(const std::string& name, const levin::TrainerConfig& config) {
  return averaged<ExportedModel>(name, config, levin::ExportedModelConfig{.file = fixture(name + ".pt2")});
}

// Running statistics of LibTorch's batch_norm, with momentum 0.1, from zeros, are a tenth of a batch's. Their means over the batches, which
// count by their samples.
Tensors statistics_of_batches(const std::string& name, const Tensors& parameters) {
  const at::NoGradGuard no_grad;
  const FixtureData data(name);
  levin::ExportedProgram model(fixture(name + ".pt2"), std::vector<std::string>());
  for (const auto& item : model.named_parameters()) item.value().copy_(parameters.at(item.key()));
  Tensors means;
  for (int64_t first = 0; first < samples; first += batch_size) {
    const int64_t count = std::min(batch_size, samples - first);
    for (const auto& item : model.named_buffers()) item.value().zero_();
    model.forward(data.batch(first, count), /*training=*/true);
    for (const auto& item : model.named_buffers()) {
      if (!item.value().is_floating_point()) continue;
      const Tensor part = item.value() * (10.0 * static_cast<double>(count) / static_cast<double>(samples));
      auto& mean = means[item.key()];
      mean = mean.defined() ? mean + part : part;
    }
  }
  return means;
}

}  // namespace

// With sync_batchnorm, for one result on all numbers of ranks.
BOOST_AUTO_TEST_CASE(averaged_models_have_the_statistics_of_their_weights) {
  for (const std::string name : {"mlp", "resnet"})
    for (const auto& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(fsdp())})
      BOOST_TEST_CONTEXT(name << ", strategy " << strategy.index()) {
        const auto state = averaged_export(name, config_of(strategy, /*sync_batchnorm=*/true));
        BOOST_TEST(difference(state, statistics_of_batches(name, state), 1e-9) == "");
        for (const auto& [key, tensor] : state)
          if (key.ends_with("num_batches_tracked")) BOOST_TEST(tensor.item<int64_t>() == 4);
      }
}

BOOST_AUTO_TEST_CASE(an_exported_model_ends_as_the_same_model_of_modules) {
  for (const bool sync_batchnorm : {false, true}) {
    const auto config = config_of(levin::DDP{}, sync_batchnorm);
    const auto expected = averaged<MlpOfModules>("mlp", config);
    BOOST_TEST(expected.contains("norm.running_var"));
    BOOST_TEST(difference(averaged_export("mlp", config), expected, 1e-9) == "");
  }
}

// The norm's input is linear in the data: its mean over all samples does not depend on the batches.
BOOST_AUTO_TEST_CASE(each_sample_counts_once) {
  const auto state = averaged_export("mlp", config_of(levin::DDP{}, /*sync_batchnorm=*/false));
  const Tensor x = FixtureData("mlp").tensors[0].second;
  const Tensor mean = (x.matmul(state.at("input.weight").t()) + state.at("input.bias")).mean(0);
  BOOST_TEST((state.at("norm.running_mean") - mean).abs().max().item<double>() < 1e-12);
}

// As PyTorch refuses it; LibTorch's kernel writes NaN.
BOOST_AUTO_TEST_CASE(one_value_a_channel_is_refused_in_training) {
  levin::ExportedProgram model(fixture("mlp.pt2"), std::vector<std::string>());
  const auto row = FixtureData("mlp").batch(0, 1);
  const Tensor variance = model.named_buffers()["norm.running_var"], before = variance.clone();
  check_throws<levin::DataError>([&] { model.forward(row, /*training=*/true); },
                                 {"Expected more than 1 value per channel", "[1, 12]", "drop_last"});
  BOOST_TEST(at::equal(variance, before));
  model.forward(row, /*training=*/false);
  try {
    model.forward(row, /*training=*/true);
  } catch (const std::exception& error) {
    BOOST_TEST(levin::is_too_few_samples(error));  // BatchSizeFinder tries a larger batch
  }
}

BOOST_AUTO_TEST_CASE(a_frozen_backbone_trains_its_batch_normalizations) {
  for (const auto& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(fsdp())})
    for (const bool train_bn : {true, false}) {
      FixtureData data("resnet");
      auto config = config_of(strategy, /*sync_batchnorm=*/false);
      config.max_epochs = 1;
      levin::Trainer trainer(config, runtime());
      trainer.add_callback(
          std::make_shared<levin::BackboneFinetuning>(levin::BackboneFinetuningConfig{.backbone = "blocks", .train_bn = train_bn}));
      std::map<std::string, bool> trained;
      trainer.add_callback(std::make_shared<levin::LambdaCallback>(levin::LambdaHooks{.on_train_start = [&](auto&, auto& module) {
        for (const auto& item : module.named_parameters()) trained[item.key()] = item.value().requires_grad();
      }}));
      const auto module = trainer.build<ExportedModel>(levin::ExportedModelConfig{.file = fixture("resnet.pt2")});
      trainer.fit(*module, data);
      for (const std::string name : {"blocks.0.first_norm.weight", "blocks.0.second_norm.bias", "blocks.1.second_norm.weight"})
        BOOST_TEST(trained.at(name) == train_bn, name);
      for (const std::string name : {"blocks.0.first.weight", "blocks.1.shortcut.bias"}) BOOST_TEST(!trained.at(name), name);
      for (const std::string name : {"stem.1.weight", "output.weight"}) BOOST_TEST(trained.at(name), name);
    }
}

BOOST_AUTO_TEST_SUITE_END()
