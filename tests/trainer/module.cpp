#include "levin/trainer/module.h"

#include <ATen/ops/equal.h>

#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"
#include "levin/metrics/mean_absolute_error.h"
#include "levin/metrics/mean_squared_error.h"
#include "levin/metrics/metric_collection.h"
#include "levin_test.h"
#include "toy.h"

using levin::Batch;
using levin::Tensor;
using levin::test::runtime;
using levin::test::Toy;
using levin::test::ToyData;

BOOST_AUTO_TEST_SUITE(trainer_module)

namespace {

struct Count : levin::Callback {
  explicit Count(int* where) : count(where) {}
  void on_train_start() override { ++*count; }
  int* count;
};

struct Monitor : levin::Callback {
  bool monitors() const override { return true; }
  void on_train_epoch_end() override { seen.push_back(*levin::find_value(trainer().report().metrics, "last_step")); }
  std::vector<double> seen;
};

}  // namespace

// In place of the Trainer's of the same class, in the runs of this module only.
BOOST_AUTO_TEST_CASE(a_module_brings_callbacks) {
  struct Brings : Toy {
    std::vector<std::shared_ptr<levin::Callback>> configure_callbacks() override { return {std::make_shared<Count>(&mine)}; }
    int mine = 0;
  };
  ToyData data;
  int of_the_trainer = 0;
  levin::Trainer trainer({.max_steps = 1}, runtime());
  trainer.add_callback(std::make_shared<Count>(&of_the_trainer));
  const auto brings = trainer.build<Brings>();
  trainer.fit(*brings, data);
  BOOST_TEST(brings->mine == 1);
  BOOST_TEST(of_the_trainer == 0);
  const auto plain = trainer.build<Toy>();
  trainer.session().progress() = {};
  trainer.fit(*plain, data);
  BOOST_TEST(brings->mine == 1);
  BOOST_TEST(of_the_trainer == 1);
}

BOOST_AUTO_TEST_CASE(a_model_is_configured_alike_on_all_ranks) {
  struct Late : Toy {
    void configure_model() override {
      if (!late) late = register_module("late", torch::nn::Linear(4, 1));
    }
    Tensor training_step(const Batch& batch) override { return late(batch["x"]).square().mean() + Toy::training_step(batch); }
    torch::nn::Linear late{nullptr};
  };
  ToyData data;
  levin::Trainer trainer({.max_steps = 2}, runtime());
  const auto module = trainer.build<Late>();
  trainer.fit(*module, data);
  BOOST_TEST(trainer.session().strategy().parameters().size() == 4u);
  const double sum = module->late->weight.sum().item<double>();
  BOOST_TEST(levin::test::over_ranks(trainer.session(), sum) == sum * runtime().size(), boost::test_tools::tolerance(1e-6));
}

// The step without its update: on one host the others may read the gradients still, when the next backward begins.
BOOST_AUTO_TEST_CASE(an_optimizer_step_may_leave_the_parameters) {
  struct EverySecond : Toy {
    void optimizer_step(std::string_view optimizer, const std::function<void()>& update) override {
      BOOST_TEST(optimizer == "sgd");
      const Tensor before = net->weight.detach().clone();
      trainer().session().communicator().barrier();
      const bool skip = trainer().global_step() % 2 == 0;
      if (!skip) update();
      BOOST_TEST(at::equal(before, net->weight) == skip);
      trainer().session().communicator().barrier();
    }
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2}, runtime());
  const auto module = trainer.build<EverySecond>();
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == 10);
}

BOOST_AUTO_TEST_CASE(clipping_is_the_modules) {
  struct Tight : Toy {
    void configure_gradient_clipping(std::string_view optimizer, std::optional<double> value, levin::ClipAlgorithm algorithm) override {
      BOOST_TEST(value.value() == 7);
      clip_gradients(optimizer, 1e-3, algorithm);
    }
  };
  ToyData data;
  levin::TrainerConfig config{.session = {.gradient_clip_val = 7}, .max_steps = 1, .num_sanity_val_steps = 0};
  levin::Trainer trainer(config, runtime());
  const auto module = trainer.build<Tight>();
  module->spec = levin::SGD{.lr = 1};
  std::vector<Tensor> before;
  for (const auto& parameter : module->parameters()) before.push_back(parameter.detach().clone());
  trainer.fit(*module, data);
  double squares = 0;
  for (size_t i = 0; i < before.size(); i++) squares += (module->parameters()[i] - before[i]).square().sum().item<double>();
  BOOST_TEST(std::sqrt(squares) == 1e-3, boost::test_tools::tolerance(1e-2));
}

// A callback that decides by a metric sees the epoch's values at its end.
BOOST_AUTO_TEST_CASE(monitors_come_last_in_an_epoch) {
  struct Logs : Toy {
    void on_train_epoch_end() override {
      log("last_step", static_cast<double>(trainer().global_step()), {.on_step = false, .on_epoch = true});
    }
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2}, runtime());
  const auto monitor = std::make_shared<Monitor>();
  trainer.add_callback(monitor);
  const auto module = trainer.build<Logs>();
  trainer.fit(*module, data);
  BOOST_TEST(monitor->seen == (std::vector<double>{5, 10}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_collection_is_logged_by_name) {
  struct Measures : Toy {
    Measures() {
      metrics.add<levin::MeanSquaredError>("mse");
      metrics.add<levin::MeanAbsoluteError>("mae");
      add_metrics(metrics);
    }
    Tensor training_step(const Batch& batch) override {
      metrics.update(batch["y"] + 2, batch["y"]);
      log(metrics);
      return Toy::training_step(batch);
    }
    levin::MetricCollection metrics{"train_"};
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 1}, runtime());
  const auto module = trainer.build<Measures>();
  trainer.fit(*module, data);
  BOOST_TEST(*levin::find_value(trainer.report().metrics, "train_mse") == 4, boost::test_tools::tolerance(1e-5));  // y is fp32
  BOOST_TEST(*levin::find_value(trainer.report().metrics, "train_mae") == 2, boost::test_tools::tolerance(1e-5));
}

BOOST_AUTO_TEST_CASE(a_training_combines_data_sets) {
  struct TwoSets : ToyData {
    levin::DataLoaderSpec train_dataloader() override {
      return {std::vector<levin::CombinedPart>{{"left", train, options}, {"right", val, options}}, levin::CombinedMode::max_size_cycle};
    }
  };
  struct Pairs : Toy {
    Tensor training_step(const Batch& batch) override {
      const Tensor left = at::mse_loss(net(batch["left/x"]), batch["left/y"]),
                   right = at::mse_loss(net(batch["right/x"]), batch["right/y"]);
      log("sum", left + right, {.on_epoch = true});
      return left + right;
    }
  };
  TwoSets data;
  levin::Trainer trainer({.max_epochs = 2}, runtime());
  const auto module = trainer.build<Pairs>();
  trainer.fit(*module, data);
  BOOST_TEST(trainer.global_step() == 10);  // 40 samples in batches of 8, twice
  BOOST_TEST(levin::find_value(trainer.report().metrics, "sum_epoch") != nullptr);
}

// Stopped in the middle of an epoch whose samples are shuffled in blocks.
BOOST_AUTO_TEST_CASE(a_training_that_combines_data_sets_resumes_exactly) {
  using levin::CombinedMode;
  struct TwoSets : ToyData {
    explicit TwoSets(CombinedMode how) : ToyData({.global_batch_size = 8, .shuffle_block = 4, .shuffle_mixed_blocks = 2}), mode(how) {}
    levin::DataLoaderSpec train_dataloader() override {
      return {std::vector<levin::CombinedPart>{{"left", train, options}, {"right", val, options}}, mode};
    }
    CombinedMode mode;
  };
  struct Combined : Toy {
    Tensor training_step(const Batch& batch) override {
      Tensor sum;
      for (const std::string part : {"", "left/", "right/"}) {
        if (!batch.contains(part + "x")) continue;
        const Tensor loss = at::mse_loss(net(batch[part + "x"]), batch[part + "y"]);
        sum = sum.defined() ? sum + loss : loss;
      }
      return sum;
    }
  };
  for (const auto mode : {CombinedMode::min_size, CombinedMode::max_size_cycle, CombinedMode::sequential}) {
    const levin::test::FolderOfRanks broken, unbroken;
    const auto weight_after = [&](const std::filesystem::path& path, int64_t steps, const levin::LoadFrom& from) {
      TwoSets data(mode);
      levin::Trainer trainer({.max_steps = steps, .limit_val_batches = levin::Limit::batches(0)}, runtime(), 5);
      trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = path, .save_top_k = -1}));
      const auto module = trainer.build<Combined>();
      trainer.fit(*module, data, from);
      BOOST_TEST(trainer.global_step() == steps);
      return module->net->weight.detach().clone();
    };
    weight_after(broken.path, 9, {});  // epochs have 2, 5 and 7 batches
    const auto ranks = levin::Communicator::create_cpu(runtime());
    const auto newest = levin::newest_checkpoint(broken.path, *ranks);
    BOOST_REQUIRE(newest.reader);
    const auto resumed = weight_after(broken.path, 13, {newest.reader.get()});
    BOOST_TEST(at::equal(resumed, weight_after(unbroken.path, 13, {})));
  }
}

// An evaluation asks for no optimizer, and a training after it has one.
BOOST_AUTO_TEST_CASE(optimizers_are_configured_for_a_training) {
  struct Asked : Toy {
    std::vector<levin::OptimizerSpec> configure_optimizers() override { return ++asked, Toy::configure_optimizers(); }
    int asked = 0;
  };
  ToyData data;
  levin::Trainer trainer({.max_steps = 1}, runtime());
  const auto module = trainer.build<Asked>();
  trainer.validate(*module, data);
  BOOST_TEST(module->asked == 0);
  const Tensor before = module->net->weight.detach().clone();
  trainer.fit(*module, data);
  trainer.validate(*module, data);
  BOOST_TEST(module->asked == 1);
  BOOST_TEST(!at::equal(before, module->net->weight));
}

BOOST_AUTO_TEST_SUITE_END()
