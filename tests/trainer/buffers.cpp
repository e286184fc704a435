// What a training does to a module's buffers: padding batches nothing, and what is assigned anew is saved and broadcast.
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <torch/nn/modules/batchnorm.h>

#include "counting_stream.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "levin/nn/module_buffers.h"
#include "levin/nn/unit.h"
#include "levin_test.h"
#include "toy.h"

using namespace levin::test;
using levin::Tensor;
using levin::TrainerConfig;

BOOST_AUTO_TEST_SUITE(trainer_buffers)

namespace {

struct NormedImpl : levin::Unit<Tensor(Tensor)> {
  NormedImpl() : norm(register_module("norm", torch::nn::BatchNorm1d(4))), linear(register_module("linear", torch::nn::Linear(4, 4))) {}
  Tensor compute(Tensor x) override { return linear(norm(x)); }
  torch::nn::BatchNorm1d norm;
  torch::nn::Linear linear;
};
LEVIN_UNIT(Normed);

/// Buffers of all kinds, each a function of this rank's real batches; `seen` has the same outside of the module.
struct Buffered : Toy {
  Buffered() {
    normed = register_module("normed", Normed());
    register_buffer("renewed", at::zeros({4}));
    in_place = register_buffer("in_place", at::zeros({4}));
    register_buffer("late", Tensor());
    for (const auto& [name, slot] : levin::buffer_slots(*this)) {  // LibTorch's references end with the next buffer
      if (name == "renewed") renewed = slot;
      if (name == "late") late = slot;
    }
  }
  Tensor training_step(const levin::Batch& batch) override {
    const Tensor x = batch["x"];
    count(x);
    if (!batch.padding()) {
      const at::NoGradGuard no_grad;
      seen(x);
      sum = sum.defined() ? sum + x.sum(0) : x.sum(0);
      batches++;
    }
    return at::mse_loss(net(normed(x)), batch["y"]);
  }
  void validation_step(const levin::Batch& batch) override {
    evaluated_late = late->defined() ? late->clone() : Tensor();
    *renewed = *renewed + (batch.padding() ? 1000 : 0);
    log("val_loss", net(normed(batch["x"])).mean());
  }
  // A padding batch counts, too: the trainer undoes it.
  void count(const Tensor& x) {
    *renewed = *renewed + x.sum(0);
    in_place.add_(x.sum(0));
    *late = late->defined() ? *late + x.sum(0) : x.sum(0);
  }
  Normed normed{nullptr};
  Tensor* renewed = nullptr;
  Tensor* late = nullptr;
  Tensor in_place, sum, evaluated_late;
  torch::nn::BatchNorm1d seen{4};
  int64_t batches = 0;
};

struct StreamData : levin::DataModule {
  StreamData(std::vector<int64_t> train_samples, std::vector<int64_t> val_samples)
      : train(std::make_shared<CountingStream>(std::move(train_samples))), val(std::make_shared<CountingStream>(std::move(val_samples))) {}
  levin::DataLoaderSpec train_dataloader() override { return {train, {.batch_size = 3}}; }
  levin::DataLoaderSpec val_dataloader() override { return {val, {.batch_size = 3}}; }
  std::shared_ptr<CountingStream> train, val;
};

Tensor buffer(const torch::nn::Module& module, const std::string& name) { return *module.named_buffers().find(name); }

void check_buffers(const Buffered& model) {
  BOOST_TEST(model.normed->norm->num_batches_tracked.item<int64_t>() == model.batches);
  BOOST_TEST(at::allclose(model.normed->norm->running_mean, model.seen->running_mean));
  BOOST_TEST(at::allclose(model.normed->norm->running_var, model.seen->running_var));
  for (const char* name : {"renewed", "in_place", "late"}) BOOST_TEST(at::allclose(buffer(model, name), model.sum));
}

levin::StrategyConfig fsdp(levin::ShareParameters share) { return levin::FSDP{.sharding = {.share_parameters = share}}; }

}  // namespace

// Rank 0's stream ends first: its padding batches leave its buffers, which are saved and broadcast, as they were.
BOOST_AUTO_TEST_CASE(padding_batches_change_none) {
  using enum levin::ActivationCheckpointing;
  for (const auto& strategy : {levin::StrategyConfig(levin::AutoStrategy{}), fsdp(levin::ShareParameters::none)})
    for (const auto kind : {none, units}) {
      StreamData data({5, 26, 14}, {0, 7, 20});
      const TrainerConfig config{.session = {.strategy = strategy, .activation_checkpointing = kind},
                                 .max_epochs = 2,
                                 .limit_val_batches = levin::Limit::batches(0),
                                 .accumulate_grad_batches = 2};
      levin::Trainer trainer(config, runtime(), 5);
      const auto model = trainer.build<Buffered>();
      trainer.fit(*model, data);
      const int64_t own[] = {2, 9, 5};
      BOOST_TEST(model->batches == 2 * own[runtime().rank()]);
      check_buffers(*model);
    }
}

BOOST_AUTO_TEST_CASE(padding_batches_of_manual_optimization_change_none) {
  struct Manual : Buffered {
    bool automatic_optimization() const override { return false; }
    Tensor training_step(const levin::Batch& batch) override {
      return optimize("sgd", [&] { return Buffered::training_step(batch); });
    }
  };
  StreamData data({5, 26, 14}, {0, 7, 20});
  levin::Trainer trainer({.max_epochs = 1, .limit_val_batches = levin::Limit::batches(0)}, runtime(), 5);
  const auto model = trainer.build<Manual>();
  trainer.fit(*model, data);
  check_buffers(*model);
}

BOOST_AUTO_TEST_CASE(padding_batches_of_an_evaluation_change_none) {
  StreamData data({5, 26, 14}, {3, 7, 20});
  levin::Trainer trainer({.max_epochs = 1, .num_sanity_val_steps = 0}, runtime(), 5);
  const auto model = trainer.build<Buffered>();
  trainer.fit(*model, data);
  // The evaluation began with rank 0's.
  Tensor sum = model->sum.clone();
  trainer.session().communicator().broadcast(sum, 0).wait();
  BOOST_TEST(at::allclose(buffer(*model, "renewed"), sum));
  BOOST_TEST(at::allclose(model->evaluated_late, sum));
}

// Rank 0's are in the checkpoint, a training that is resumed has them, and so has an evaluation.
BOOST_AUTO_TEST_CASE(reassigned_buffers_are_saved_and_restored) {
  const FolderOfRanks folder, other;
  const auto fit = [](const std::filesystem::path& path, int64_t epochs, const levin::LoadFrom& from) {
    ToyData data;
    auto trainer = std::make_shared<levin::Trainer>(TrainerConfig{.max_epochs = epochs}, runtime(), 5);
    trainer->add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = path, .save_top_k = -1}));
    auto model = trainer->build<Buffered>();
    trainer->fit(*model, data, from);
    return std::pair(trainer, model);
  };
  const auto [first, model] = fit(folder.path, 1, {});
  const auto newest = levin::newest_checkpoint(folder.path, first->session().communicator().cpu());
  BOOST_REQUIRE(newest.reader);
  for (const char* name : {"renewed", "in_place", "late", "normed.norm.running_mean"}) {
    const auto* entry = newest.reader->find(std::string("model/") + name);
    BOOST_REQUIRE(entry);
    Tensor saved = at::zeros(entry->shape);
    newest.reader->read(entry->name, 0, saved.numel(), saved.mutable_data_ptr());
    Tensor rank_0 = buffer(*model, name).detach().clone();
    first->session().communicator().broadcast(rank_0, 0).wait();
    BOOST_TEST(at::equal(saved, rank_0), name);
  }
  const auto [second, resumed] = fit(folder.path, 2, {newest.reader.get()});
  const auto [unbroken_trainer, unbroken] = fit(other.path, 2, {});
  for (const auto& item : unbroken->named_buffers()) {
    Tensor expected = item.value().detach().clone(), found = buffer(*resumed, item.key()).detach().clone();
    for (auto* tensor : {&expected, &found}) second->session().communicator().broadcast(*tensor, 0).wait();
    BOOST_TEST(at::equal(expected, found), item.key());
  }
  BOOST_TEST(at::equal(resumed->net->weight, unbroken->net->weight));
  ToyData data;
  levin::Trainer evaluating({}, runtime());
  const auto evaluated = evaluating.build<Buffered>();
  evaluating.test(*evaluated, data, {newest.reader.get()});
  Tensor sum = model->sum.clone();
  evaluating.session().communicator().broadcast(sum, 0).wait();
  BOOST_TEST(at::allclose(evaluated->evaluated_late, sum));
}

BOOST_AUTO_TEST_CASE(buffers_that_differ_between_ranks_are_named) {
  if (runtime().size() == 1) return;
  struct Differs : Buffered {
    void on_train_epoch_end() override {
      if (runtime().rank() == 1) *late = at::zeros({7});
    }
    void on_train_epoch_start() override {
      if (trainer().current_epoch() == 1) trainer().session().strategy().broadcast_buffers();
    }
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2, .limit_val_batches = levin::Limit::batches(0)}, runtime(), 5);
  const auto model = trainer.build<Differs>();
  try {
    trainer.fit(*model, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {  // this rank's, or that of a rank that was faster
    for (const char* part : {"buffer \"late\" 4 float", "rank 1 has buffer \"late\" 7"})
      BOOST_TEST(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
}

BOOST_AUTO_TEST_CASE(a_guard_restores_values_shapes_and_slots) {
  const auto model = std::make_shared<Buffered>();
  *model->late = Tensor();
  const Tensor handle = buffer(*model, "in_place");
  {
    const levin::BufferGuard guard(*model);
    model->in_place.fill_(5);
    model->in_place.resize_({2, 3});
    *model->renewed = at::zeros({9}, at::kDouble);
    *model->late = at::zeros({1});
    model->normed->norm->running_mean.fill_(3);
    model->register_buffer("more", at::zeros({2}));
  }
  BOOST_TEST(buffer(*model, "in_place").is_same(handle));
  BOOST_TEST(at::equal(model->in_place, at::zeros({4})));
  BOOST_TEST(at::equal(buffer(*model, "renewed"), at::zeros({4})));
  BOOST_TEST(at::equal(model->normed->norm->running_mean, at::zeros({4})));
  BOOST_TEST(!model->named_buffers().contains("late"));
  BOOST_TEST(!model->named_buffers().contains("more"));
}

BOOST_AUTO_TEST_SUITE_END()
