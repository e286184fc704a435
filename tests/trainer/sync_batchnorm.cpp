// Batch normalization over all ranks: as one process computes it on the whole batch, under every strategy.
#include <ATen/ops/allclose.h>
#include <ATen/ops/instance_norm.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros_like.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/optim/sgd.h>

#include "counting_stream.h"
#include "levin/core/error.h"
#include "levin/nn/sync_batch_norm.h"
#include "levin/nn/unit.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::Tensor;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_sync_batchnorm)

namespace {

constexpr int64_t samples = 26, batch_size = 8;  // the last batch has 2: with three ranks one has a padding batch

struct NormedLayersImpl : levin::Unit<Tensor(Tensor)> {
  explicit NormedLayersImpl(std::optional<double> momentum) {
    linear = register_module("linear", torch::nn::Linear(4, 6));
    norm = register_module("norm", torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(3).momentum(momentum)));
  }
  Tensor compute(Tensor x) override { return at::relu(norm(linear(x).view({-1, 3, 2}))).flatten(1); }
  torch::nn::Linear linear{nullptr};
  torch::nn::BatchNorm1d norm{nullptr};
};
LEVIN_UNIT(NormedLayers);

struct Normed : Toy {
  explicit Normed(std::optional<double> momentum = 0.1) {
    layers = register_module("layers", NormedLayers(momentum));
    head = register_module("head", torch::nn::Linear(6, 1));
  }
  Tensor outputs(const Tensor& x) { return head(layers(x)) + 0 * net(x); }
  Tensor training_step(const levin::Batch& batch) override { return at::mse_loss(outputs(batch["x"]), batch["y"]); }
  void validation_step(const levin::Batch& batch) override { log("val_loss", at::mse_loss(outputs(batch["x"]), batch["y"])); }
  NormedLayers layers{nullptr};
  torch::nn::Linear head{nullptr};
};

TrainerConfig config_of(const levin::StrategyConfig& strategy, levin::ActivationCheckpointing checkpointing = {}) {
  return {.session = {.strategy = strategy,
                      .precision = levin::Precision::float64,
                      .activation_checkpointing = checkpointing,
                      .sync_batchnorm = true},
          .max_epochs = 3};
}

levin::DataLoaderOptions in_order() { return {.global_batch_size = batch_size, .shuffle = false}; }

/// The same training by LibTorch alone, on whole batches.
std::shared_ptr<Normed> trained_by_one(std::optional<double> momentum = 0.1) {
  levin::Trainer trainer({.session = {.precision = levin::Precision::float64}}, runtime(), 5);
  auto model = trainer.build<Normed>(momentum);  // the first weights
  model->to(at::kDouble);
  torch::optim::SGD optimizer(model->parameters(), torch::optim::SGDOptions(0.01));
  const auto data = ToyData::make(samples);
  for (int epoch = 0; epoch < 3; epoch++)
    for (int64_t first = 0; first < samples; first += batch_size) {
      levin::Batch batch;
      std::vector<int64_t> indices(static_cast<size_t>(std::min(batch_size, samples - first)));
      for (size_t i = 0; i < indices.size(); i++) indices[i] = first + static_cast<int64_t>(i);
      data->get(indices, batch);
      const Tensor x = batch["x"].to(at::kDouble), y = batch["y"].to(at::kDouble);
      optimizer.zero_grad();
      at::mse_loss(model->outputs(x), y).backward();
      optimizer.step();
    }
  return model;
}

void check_same(levin::Session& session, const Normed& model, const Normed& expected) {
  session.read_parameters([&](const std::string& name, const Tensor& parameter) {
    const Tensor other = *expected.named_parameters().find(name);
    BOOST_CHECK_MESSAGE(at::allclose(parameter, other, 1e-9, 1e-11), name << " differs by " << (parameter - other).abs().max());
  });
  for (const auto& item : expected.named_buffers()) {
    const Tensor buffer = model.named_buffers().find(item.key())->to(at::kDouble);  // num_batches_tracked, too
    BOOST_CHECK_MESSAGE(at::allclose(buffer, item.value().to(at::kDouble), 1e-9, 1e-11), item.key() << " on rank " << session.rank());
  }
}

void check_training(const TrainerConfig& config, std::optional<double> momentum = 0.1) {
  ToyData data(in_order(), samples, 11);
  levin::Trainer trainer(config, runtime(), 5);
  const auto model = trainer.build<Normed>(momentum);
  trainer.fit(*model, data);
  check_same(trainer.session(), *model, *trained_by_one(momentum));
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_strategy_trains_as_one_rank_on_the_whole_batch) {
  const levin::ShardingOptions apart{.share_parameters = levin::ShareParameters::none};
  levin::ShardingOptions groups = apart;  // whose shards have replicas
  groups.shard_group_size = runtime().size() % 2 == 0 ? runtime().size() / 2 : 1;
  for (const levin::StrategyConfig& strategy :
       {levin::StrategyConfig(levin::AutoStrategy{}), levin::StrategyConfig(levin::DDP{}),
        levin::StrategyConfig(levin::DDP{.share_parameters = levin::ShareParameters::none}), levin::StrategyConfig(levin::Zero1{}),
        levin::StrategyConfig(levin::Zero1{.sharding = apart}), levin::StrategyConfig(levin::Zero2{}),
        levin::StrategyConfig(levin::Zero2{.sharding = apart}), levin::StrategyConfig(levin::FSDP{}),
        levin::StrategyConfig(levin::FSDP{.sharding = apart}), levin::StrategyConfig(levin::HSDP{}),
        levin::StrategyConfig(levin::HSDP{.sharding = groups})})
    check_training(config_of(strategy));
}

BOOST_AUTO_TEST_CASE(recomputed_units_and_cumulative_averages_are_right) {
  using enum levin::ActivationCheckpointing;
  check_training(config_of(levin::DDP{}, units));
  check_training(config_of(levin::FSDP{}, units), std::nullopt);
}

// Without the option the statistics are each rank's own.
BOOST_AUTO_TEST_CASE(without_the_option_ranks_have_their_own_statistics) {
  if (runtime().size() == 1) return;
  auto config = config_of(levin::DDP{});
  config.session.sync_batchnorm = false;
  ToyData data(in_order(), samples, 11);
  levin::Trainer trainer(config, runtime(), 5);
  const auto model = trainer.build<Normed>();
  trainer.fit(*model, data);
  BOOST_TEST(!at::allclose(model->layers->norm->running_mean, trained_by_one()->layers->norm->running_mean, 1e-9, 1e-11));
}

// Streams end on one rank after the other; a rank that has only padding batches keeps the statistics of the others.
BOOST_AUTO_TEST_CASE(ranks_with_padding_batches_have_the_same_statistics) {
  if (runtime().size() > 3) return;  // than streams
  struct StreamData : levin::DataModule {
    levin::DataLoaderSpec train_dataloader() override {
      return {std::make_shared<CountingStream>(std::vector<int64_t>{3, 14, 8}), {.batch_size = 3}};
    }
  };
  StreamData data;
  auto config = config_of(levin::DDP{});
  config.max_epochs = 2;
  levin::Trainer trainer(config, runtime(), 5);
  const auto model = trainer.build<Normed>();
  trainer.fit(*model, data);
  const int64_t batches[] = {1, 5, 5};
  BOOST_TEST(model->layers->norm->num_batches_tracked.item<int64_t>() == 2 * batches[runtime().size() - 1]);
  for (const auto& item : model->named_buffers()) {
    const Tensor of_rank_0 = item.value().clone();
    trainer.session().communicator().broadcast(of_rank_0, 0).wait();
    BOOST_TEST(of_rank_0.equal(item.value()), item.key());
  }
}

// The order of reductions and statistics would differ between ranks, were gradients reduced in the backward.
BOOST_AUTO_TEST_CASE(a_parameter_may_take_part_on_some_ranks_only) {
  struct Partial : Toy {
    explicit Partial(bool manual) : manual_(manual) {
      norm = register_module("norm", torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(4).affine(false)));
      extra = register_module("extra", torch::nn::Linear(4, 1));
    }
    bool automatic_optimization() const override { return !manual_; }
    Tensor training_step(const levin::Batch& batch) override {
      const auto compute = [&] {
        const Tensor normed = norm(batch["x"].detach().requires_grad_(true));  // its backward comes after those of all parameters
        return at::mse_loss(net(normed) + (runtime().rank() == 0 ? extra(normed) : at::zeros_like(batch["y"])), batch["y"]);
      };
      return manual_ ? optimize("sgd", compute) : compute();
    }
    bool manual_;
    torch::nn::BatchNorm1d norm{nullptr};
    torch::nn::Linear extra{nullptr};
  };
  for (const auto share : {levin::ShareParameters::automatic, levin::ShareParameters::none})
    for (const bool manual : {false, true}) {
      ToyData data(in_order(), 24, 11);
      levin::Trainer trainer(config_of(levin::DDP{.share_parameters = share}), runtime(), 5);
      const auto model = trainer.build<Partial>(manual);
      trainer.fit(*model, data);
      BOOST_TEST(trainer.global_step() == 9);
      trainer.session().read_parameters([&](const std::string& name, const Tensor& parameter) {
        const Tensor of_rank_0 = parameter.clone();
        trainer.session().communicator().broadcast(of_rank_0, 0).wait();
        BOOST_TEST(of_rank_0.equal(parameter), name);
        BOOST_TEST(parameter.isfinite().all().item<bool>(), name);
      });
      for (const auto& item : model->named_buffers()) {
        const Tensor of_rank_0 = item.value().clone();
        trainer.session().communicator().broadcast(of_rank_0, 0).wait();
        BOOST_TEST(of_rank_0.equal(item.value()), item.key());
      }
    }
}

// A program with its own loop would train with the statistics of each rank, unnoticed.
BOOST_AUTO_TEST_CASE(a_loop_without_a_scope_is_refused) {
  if (runtime().size() == 1) return;
  levin::Session session(runtime(), {.sync_batchnorm = true}, 5);
  const auto model = session.build<Normed>();
  session.setup(*model);
  const auto loss = [&] { return model->outputs(at::arange(16, at::kFloat).view({4, 4})).sum(); };
  check_throws<levin::UsageError>([&] { session.backward(loss(), 4); }, {"outside of a SyncBatchNorm::Scope"});
  const levin::SyncBatchNorm::Scope scope(session.sync_batch_norm(), *model, /*padding=*/false);
  session.backward(loss(), 4);
  BOOST_TEST(session.step());
}

// It normalizes each sample by itself, and LibTorch computes it by a batch normalization.
BOOST_AUTO_TEST_CASE(instance_normalization_stays_local) {
  struct InstanceNormed : Toy {
    Tensor training_step(const levin::Batch& batch) override {
      const Tensor x = linear_in(batch["x"]), normed = at::instance_norm(x, {}, {}, {}, {}, true, 0.1, 1e-5, false);
      const Tensor mean = x.mean(-1, true), deviation = (x.var(-1, false, true) + 1e-5).sqrt();
      right = right && at::allclose(normed, (x - mean) / deviation, 1e-6, 1e-6);
      return at::mse_loss(net(batch["x"]), batch["y"]) + 0 * normed.sum();
    }
    static Tensor linear_in(const Tensor& x) { return x.view({-1, 2, 2}) * 3 + x.sum(); }
    bool right = true;
  };
  ToyData data(in_order(), 24, 11);
  levin::Trainer trainer(config_of(levin::DDP{}), runtime(), 5);
  const auto model = trainer.build<InstanceNormed>();
  trainer.fit(*model, data);
  BOOST_TEST(model->right);
}

BOOST_AUTO_TEST_SUITE_END()
