// Parameters that a hook freezes in the middle of a training, and unfreezes again.
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/nn/unit.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::StrategyConfig;
using levin::Tensor;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_frozen_parameters)

namespace {

struct BodyImpl : levin::Unit<Tensor(Tensor)> {
  BodyImpl() : first(register_module("first", torch::nn::Linear(4, 5))), second(register_module("second", torch::nn::Linear(5, 4))) {}
  Tensor compute(Tensor x) override { return second(first(x).tanh()); }
  torch::nn::Linear first, second;
};
LEVIN_UNIT(Body);

/// body.first is frozen in epochs 1 and 2; the bias of net in epoch 2.
struct Freezing : Toy {
  Freezing() { body = register_module("body", Body()); }
  Tensor training_step(const levin::Batch& batch) override { return at::mse_loss(net(body(batch["x"])), batch["y"]); }
  void on_train_epoch_start() override {
    const auto epoch = trainer().current_epoch();
    if (epoch == 1) freeze(true);
    if (epoch == 2) net->bias.set_requires_grad(false);
    if (epoch == 3) freeze(false), net->bias.set_requires_grad(true);
    values.push_back(now());
  }
  void on_train_epoch_end() override { values.push_back(now()); }
  void freeze(bool frozen) {
    for (const auto& parameter : body->first->parameters()) parameter.set_requires_grad(!frozen);
  }
  // Of body.first and net.bias: values, and what the optimizer remembers of them.
  std::map<std::string, Tensor> now() {
    std::map<std::string, Tensor> found;
    trainer().session().read_parameters([&](const std::string& name, const Tensor& value) { found[name] = value.clone(); });
    for (const auto& state : trainer().session().strategy().state(levin::StateUse::load))
      for (const auto& part : state.parts)
        if (state.name.starts_with("optimizer/")) found[fmt::format("{} {}", state.name, part.slab.offset[0])] = part.values.clone();
    return found;
  }
  Body body{nullptr};
  std::vector<std::map<std::string, Tensor>> values;  // at the beginning and end of each epoch
};

/// body.first joins the training in epoch 2.
struct Joining : Freezing {
  void on_fit_start() override { freeze(true); }
  void on_train_epoch_start() override {
    if (trainer().current_epoch() == 2) freeze(false);
    values.push_back(now());
  }
};

bool same(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b, const std::string& part) {
  size_t found = 0;
  for (const auto& [name, tensor] : a)
    if (name.find(part) != std::string::npos) {
      found++;
      if (!at::equal(tensor, b.at(name))) return false;
    }
  BOOST_TEST(found > 0);
  return true;
}

struct Trained {
  std::shared_ptr<levin::Trainer> trainer;
  std::shared_ptr<Freezing> model;
};

template <class Model = Freezing>
Trained train(const StrategyConfig& strategy, const levin::OptimizerSpec& spec, std::optional<double> clip, int64_t accumulate = 1,
              const std::filesystem::path& folder = {}, const levin::LoadFrom& from = {}, int64_t epochs = 5) {
  ToyData data({.global_batch_size = 6}, 24);
  Trained trained{std::make_shared<levin::Trainer>(
                      TrainerConfig{.session = {.strategy = strategy, .precision = levin::Precision::float64, .gradient_clip_val = clip},
                                    .max_epochs = epochs,
                                    .accumulate_grad_batches = accumulate},
                      runtime(), 5),
                  nullptr};
  if (!folder.empty())
    trained.trainer->add_callback(
        std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder, .save_top_k = -1}));
  trained.model = trained.trainer->build<Model>();
  trained.model->spec = spec;
  trained.trainer->fit(*trained.model, data, from);
  return trained;
}

void check_frozen(const Freezing& model) {
  const auto& at = model.values;  // epoch e: 2 e and 2 e + 1
  BOOST_REQUIRE(at.size() == 10u);
  for (const char* name : {"body.first.weight", "body.first.bias"}) {
    BOOST_TEST(!same(at[0], at[1], name));
    BOOST_TEST(same(at[2], at[5], name));
    BOOST_TEST(!same(at[6], at[7], name));
  }
  BOOST_TEST(!same(at[2], at[3], "net.bias"));
  BOOST_TEST(same(at[4], at[5], "net.bias"));
  BOOST_TEST(!same(at[6], at[7], "net.bias"));
  for (size_t epoch = 0; epoch < 5; epoch++) BOOST_TEST(!same(at[2 * epoch], at[2 * epoch + 1], "body.second.weight"));
}

std::vector<StrategyConfig> strategies() {
  const levin::ShardingOptions apart{.share_parameters = levin::ShareParameters::none};
  levin::ShardingOptions pairs = apart;
  pairs.shard_group_size = levin::test::runtime().size() % 2 == 0 ? 2 : 1;
  return {levin::AutoStrategy{},           levin::DDP{levin::ShareParameters::none}, levin::Zero1{.sharding = apart},
          levin::Zero2{.sharding = apart}, levin::FSDP{.sharding = apart},           levin::HSDP{.sharding = pairs}};
}

levin::OptimizerSpec adamw() { return levin::AdamW{.lr = 0.01, .weight_decay = 0.5}; }
levin::OptimizerSpec torch_adamw() {
  return levin::custom([](std::vector<Tensor> parameters) {
    return std::make_unique<torch::optim::AdamW>(parameters, torch::optim::AdamWOptions(0.01).weight_decay(0.5));
  });
}

levin::OptimizerSpec sgd() { return levin::SGD{.lr = 0.05, .momentum = 0.9, .dampening = 0.5}; }
levin::OptimizerSpec torch_sgd() {
  return levin::custom([](std::vector<Tensor> parameters) {
    return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(0.05).momentum(0.9).dampening(0.5));
  });
}

std::map<std::string, Tensor> parameters_of(const std::map<std::string, Tensor>& all) {
  std::map<std::string, Tensor> found;
  for (const auto& [name, tensor] : all)
    if (!name.starts_with("optimizer/")) found.emplace(name, tensor);
  return found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(stay_as_they_are_under_every_strategy) {
  for (const auto& spec : {adamw(), levin::OptimizerSpec(levin::LAMB{.lr = 0.01, .weight_decay = 0.5}),
                           levin::OptimizerSpec(levin::SGD{.lr = 0.05, .momentum = 0.9, .weight_decay = 0.1})}) {
    std::map<std::string, Tensor> expected;
    for (const auto& strategy : strategies()) {
      const auto trained = train(strategy, spec, 0.5);
      check_frozen(*trained.model);
      const auto found = parameters_of(trained.model->values.back());
      if (expected.empty()) expected = found;
      for (const auto& [name, tensor] : expected) BOOST_TEST(at::allclose(tensor, found.at(name), 1e-9, 1e-11), name);
    }
  }
}

BOOST_AUTO_TEST_CASE(stay_as_they_are_under_an_optimizer_of_libtorch) {
  const auto ours = train(levin::DDP{}, adamw(), {}), torchs = train(levin::DDP{}, torch_adamw(), {});
  check_frozen(*torchs.model);
  for (const auto& [name, tensor] : parameters_of(ours.model->values.back()))
    BOOST_TEST(at::allclose(tensor, torchs.model->values.back().at(name), 1e-9, 1e-11), name);
}

// The checkpoint after epoch 1: the hook that froze is not called again.
BOOST_AUTO_TEST_CASE(stay_as_they_are_after_a_restart) {
  for (const auto& spec : {adamw(), torch_adamw()})
    for (const auto& strategy : {StrategyConfig(levin::AutoStrategy{}), StrategyConfig(levin::DDP{levin::ShareParameters::none})}) {
      const FolderOfRanks folder;
      const auto unbroken = train(strategy, spec, 0.5, 1, folder.path);
      check_frozen(*unbroken.model);
      auto& host = unbroken.trainer->session().communicator().cpu();
      MPI_Barrier(runtime().communicator());
      const levin::CheckpointReader after_epoch_1(folder.path / "step=000008", host);
      const FolderOfRanks other;
      const auto resumed = train(strategy, spec, 0.5, 1, other.path, {&after_epoch_1});
      const auto &before = unbroken.model->values, &after = resumed.model->values;
      BOOST_REQUIRE(after.size() >= 6u);  // of epochs 2 to 4
      for (size_t i = 1; i <= 6; i++) BOOST_TEST(same(before[before.size() - i], after[after.size() - i], ""));
    }
}

// Bias corrections count the updates that a parameter took, and its momentum starts as its first gradient, without dampening.
BOOST_AUTO_TEST_CASE(that_join_later_start_as_in_libtorch) {
  for (const auto& [ours, torchs] : {std::pair(sgd(), torch_sgd()), std::pair(adamw(), torch_adamw())}) {
    const auto reference = train<Joining>(levin::DDP{}, torchs, {});
    const auto& values = reference.model->values;
    BOOST_REQUIRE(values.size() == 10u);
    BOOST_TEST(same(values[0], values[3], "body.first.weight"));
    BOOST_TEST(!same(values[4], values[5], "body.first.weight"));
    for (const auto& strategy : strategies()) {
      const auto trained = train<Joining>(strategy, ours, {});
      for (const auto& [name, tensor] : parameters_of(values.back()))
        BOOST_TEST(at::allclose(tensor, trained.model->values.back().at(name), 1e-9, 1e-11), name);
      const auto missed = trained.trainer->session().strategy().missed_updates();
      BOOST_TEST((missed == std::map<std::string, int64_t>{{"body.first.bias", 8}, {"body.first.weight", 8}}));
    }
  }
}

// Before the parameter's first update, and after it.
BOOST_AUTO_TEST_CASE(that_join_later_do_so_after_a_restart) {
  for (const auto& spec : {sgd(), torch_sgd(), adamw(), torch_adamw()})
    for (const auto& strategy : {StrategyConfig(levin::AutoStrategy{}), StrategyConfig(levin::DDP{levin::ShareParameters::none})}) {
      const FolderOfRanks folder;
      const auto without_checkpoints = train<Joining>(strategy, spec, 0.5);
      const auto unbroken = train<Joining>(strategy, spec, 0.5, 1, folder.path);
      const auto& before = unbroken.model->values;
      BOOST_TEST(same(without_checkpoints.model->values.back(), before.back(), ""));
      auto& host = unbroken.trainer->session().communicator().cpu();
      for (const auto& [name, values] : {std::pair("step=000008", size_t{6}), std::pair("step=000012", size_t{4})}) {
        MPI_Barrier(runtime().communicator());
        const levin::CheckpointReader reader(folder.path / name, host);
        const FolderOfRanks other;
        const auto resumed = train<Joining>(strategy, spec, 0.5, 1, other.path, {&reader});
        const auto& after = resumed.model->values;
        BOOST_REQUIRE(after.size() == values);
        for (size_t i = 1; i <= values; i++) BOOST_TEST(same(before[before.size() - i], after[after.size() - i], ""));
      }
    }
}

// Earlier micro-batches of the step gave it a gradient.
BOOST_AUTO_TEST_CASE(are_left_out_of_the_norm) {
  struct InStep : Freezing {
    void on_train_epoch_start() override {}
    void on_train_epoch_end() override {}
    void on_before_zero_grad(std::string_view) override { micro_batch = 0; }
    void on_after_backward() override {
      if (++micro_batch == 1) freeze(true);
    }
    void on_before_optimizer_step(std::string_view) override {
      for (const auto& gradient : trainer().session().gradients())
        if (gradient.name.starts_with("body.first")) found += gradient.slice.abs().sum().item<double>();
    }
    int micro_batch = 0;
    double found = 0;
  };
  ToyData data({.global_batch_size = 6}, 24);
  levin::Trainer trainer({.max_epochs = 1, .accumulate_grad_batches = 2}, runtime(), 5);
  const auto model = trainer.build<InStep>();
  trainer.fit(*model, data);
  BOOST_TEST(model->found == 0);
}

BOOST_AUTO_TEST_CASE(ranks_must_freeze_the_same) {
  if (runtime().size() == 1) return;
  struct Differs : Freezing {
    void on_train_epoch_start() override {
      if (runtime().rank() == 1) net->bias.set_requires_grad(false);
    }
    void on_train_epoch_end() override {}
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime(), 5);
  const auto model = trainer.build<Differs>();
  try {
    trainer.fit(*model, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {
    for (const char* part : {"\"net.bias\" 1", "frozen (requires_grad is false) on rank 1, and trained on rank 0"})
      BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

// What was frozen when the training was set up has no optimizer.
BOOST_AUTO_TEST_CASE(parameters_frozen_in_the_constructor_cannot_be_unfrozen) {
  struct Thaws : Toy {
    Thaws() { net->bias.set_requires_grad(false); }
    void on_train_epoch_start() override { net->bias.set_requires_grad(true); }
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime(), 5);
  const auto model = trainer.build<Thaws>();
  try {
    trainer.fit(*model, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {
    for (const char* part : {"\"net.bias\" 1", "requires a gradient now", "on_fit_start"})
      if (dynamic_cast<const levin::UsageError*>(&error))
        BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

BOOST_AUTO_TEST_SUITE_END()
