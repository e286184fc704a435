#include "levin/callbacks/model_pruning.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/sin.h>

#include <algorithm>
#include <cmath>

#include "counting_stream.h"
#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_folder.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::Limit;
using levin::ModelPruning;
using levin::ModelPruningConfig;
using levin::PruningMethod;

BOOST_AUTO_TEST_SUITE(callbacks_model_pruning)

namespace {

// The layer of tests/reference/record_finders.py.
struct WavyLayer : Toy {
  WavyLayer() {
    net = replace_module("net", torch::nn::Linear(6, 4));
    net->to(at::kDouble);
    const at::NoGradGuard no_grad;
    net->weight.copy_(at::sin(at::arange(1, 25, at::kDouble)).view({4, 6}));
    net->bias.copy_(at::cos(at::arange(1, 5, at::kDouble)));
    spec = levin::SGD{.lr = 0};
  }
  levin::Tensor training_step(const levin::Batch& batch) override { return net(batch["x"]).square().mean(); }
  void validation_step(const levin::Batch&) override {}
};

struct WideData : ToyData {
  WideData() : ToyData({.batch_size = 12 / runtime().size(), .shuffle = false}, 24, 12) {
    train = std::make_shared<levin::TensorDataset>(
        std::vector<std::pair<std::string, levin::Tensor>>{{"x", at::sin(at::arange(24 * 6, at::kFloat)).view({24, 6})}});
  }
};

// Another amount in each epoch.
struct Scheduled : ModelPruning {
  Scheduled(const ModelPruningConfig& config, std::vector<Limit> each) : ModelPruning(config), amounts(std::move(each)) {}
  Limit amount(int64_t epoch) const override { return amounts[static_cast<size_t>(epoch)]; }
  std::vector<Limit> amounts;
};

using StrategyList = std::vector<levin::StrategyConfig>;
StrategyList all_strategies() {
  const levin::ShardingOptions separate{.share_parameters = levin::ShareParameters::none};
  return {levin::DDP{}, levin::DDP{.share_parameters = levin::ShareParameters::none}, levin::Zero2{.sharding = separate}, levin::FSDP{},
          levin::FSDP{.sharding = separate}};
}

// The values after each epoch.
template <class Model, class Data>
std::vector<std::vector<double>> train_pruned(const std::shared_ptr<ModelPruning>& pruning, const levin::StrategyConfig& strategy,
                                              int64_t epochs, const std::function<void(Model&)>& change = {},
                                              const std::filesystem::path& folder = {}) {
  auto config = reference_config(epochs);
  config.session.strategy = strategy;
  config.session.gradient_clip_val = 0.5;
  Data data;
  levin::Trainer trainer(config, runtime(), 3);
  std::vector<std::vector<double>> values;
  trainer.add_callback(pruning);
  trainer.on(levin::Event::train_epoch_end, [&] { values.push_back(values_of(trainer.session())); });
  levin::NewestCheckpoint newest;
  if (!folder.empty()) {
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder}));
    newest = levin::newest_checkpoint(folder, trainer.session().communicator().cpu());
  }
  const auto module = trainer.build<Model>();
  if (change) change(*module);
  trainer.fit(*module, data, {newest.reader.get()});
  return values;
}

// Five batches.
struct PrunedStream : levin::DataModule {
  levin::DataLoaderSpec train_dataloader() override { return {train, {.batch_size = 3}}; }
  std::shared_ptr<CountingStream> train = std::make_shared<CountingStream>(std::vector<int64_t>{15, 15, 15});
};

// How many elements are pruned after each epoch of at most two.
std::vector<int64_t> pruned_in_epochs_of_stream(const levin::Limit& batches, int64_t max_steps) {
  PrunedStream data;
  levin::Trainer trainer({.max_epochs = 2, .max_steps = max_steps, .limit_train_batches = batches}, runtime(), 3);
  const auto pruning =
      std::make_shared<ModelPruning>(ModelPruningConfig{.parameters_to_prune = {"net.weight"}, .amount = Limit::batches(1)});
  std::vector<int64_t> pruned;
  trainer.add_callback(pruning);
  trainer.on(levin::Event::train_epoch_end, [&] { pruned.push_back(pruning->pruned()); });
  const auto module = trainer.build<Toy>();
  trainer.fit(*module, data);
  return pruned;
}

int64_t zeros_in(const std::vector<double>& values) { return std::count(values.begin(), values.end(), 0.0); }

std::vector<double> weights_alone(std::vector<double> values) { return {values.begin(), values.begin() + 24}; }

}  // namespace

BOOST_AUTO_TEST_CASE(masks_are_those_of_torch_under_every_strategy) {
  const ModelPruningConfig unstructured{
      .parameters_to_prune = {"net.weight"}, .use_global_unstructured = false, .use_lottery_ticket_hypothesis = false};
  auto global = unstructured;
  global.parameters_to_prune = {"*weight", "*bias"}, global.use_global_unstructured = true, global.amount = Limit::fraction(0.25);
  auto columns = unstructured;
  columns.pruning_fn = PruningMethod::ln_structured, columns.pruning_dim = 1, columns.pruning_norm = 2,
  columns.amount = Limit::fraction(0.3);
  auto rows = columns;
  rows.pruning_dim = 0, rows.pruning_norm = 1, rows.amount = Limit::batches(1);
  for (const auto& strategy : all_strategies()) {
    const auto check = [&](const std::shared_ptr<ModelPruning>& pruning, const std::vector<std::string>& names) {
      const auto values = train_pruned<WavyLayer, WideData>(pruning, strategy, std::ssize(names));
      for (size_t i = 0; i < names.size(); i++) check_recorded(values[i], names[i], 1e-12, "finders.txt");
    };
    check(std::make_shared<Scheduled>(unstructured, std::vector<Limit>{Limit::fraction(0.3), Limit::fraction(0.3), Limit::batches(5)}),
          {"l1_0", "l1_1", "l1_2"});
    check(std::make_shared<ModelPruning>(global), {"global_0", "global_1", "global_2"});
    check(std::make_shared<ModelPruning>(columns), {"ln_0", "ln_1"});
    check(std::make_shared<ModelPruning>(rows), {"ln_rows"});
  }
}

// With momentum, weight decay and clipping: pruned elements have no gradient, and count in no norm.
BOOST_AUTO_TEST_CASE(a_pruned_training_is_that_of_torch) {
  for (const auto& strategy : all_strategies()) {
    const auto pruning = std::make_shared<ModelPruning>(ModelPruningConfig{.parameters_to_prune = {"net.weight"},
                                                                           .amount = Limit::batches(1),
                                                                           .use_global_unstructured = false,
                                                                           .use_lottery_ticket_hypothesis = false});
    const auto values = train_pruned<ReferenceToy, ReferenceData>(
        pruning, strategy, 3, [](ReferenceToy& toy) { toy.spec = levin::SGD{.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01}; });
    check_recorded(values.back(), "trained", 1e-9, "finders.txt");
  }
}

BOOST_AUTO_TEST_CASE(ties_go_by_position) {
  for (const auto& strategy : all_strategies()) {
    const auto values = train_pruned<WavyLayer, WideData>(
        std::make_shared<ModelPruning>(ModelPruningConfig{.amount = Limit::batches(5), .use_lottery_ticket_hypothesis = false}), strategy,
        1, [](WavyLayer& layer) {
          const at::NoGradGuard no_grad;
          layer.net->weight.fill_(1), layer.net->bias.fill_(-1);
        });
    std::vector<double> expected(28, 1);
    std::fill_n(expected.begin(), 5, 0.0);
    std::fill_n(expected.begin() + 24, 4, -1.0);
    BOOST_TEST(values.back() == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(random_masks_do_not_depend_on_the_strategy) {
  for (const auto method : {PruningMethod::random_unstructured, PruningMethod::random_structured}) {
    const ModelPruningConfig config{.pruning_fn = method,
                                    .parameters_to_prune = {"net.weight"},
                                    .amount = Limit::batches(2),
                                    .use_global_unstructured = false,
                                    .use_lottery_ticket_hypothesis = false,
                                    .pruning_dim = 1};
    const auto expected = train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), levin::DDP{}, 2);
    const int64_t pruned = method == PruningMethod::random_unstructured ? 2 : 8;
    BOOST_TEST(zeros_in(expected[0]) == pruned);
    BOOST_TEST(zeros_in(expected[1]) == 2 * pruned);
    for (const auto& strategy : all_strategies())
      BOOST_TEST((train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), strategy, 2) == expected));
  }
}

BOOST_AUTO_TEST_CASE(what_is_left_starts_from_its_first_values) {
  for (const auto& strategy : all_strategies()) {
    const auto values = train_pruned<WavyLayer, WideData>(
        std::make_shared<ModelPruning>(ModelPruningConfig{.parameters_to_prune = {"net.weight"}, .amount = Limit::batches(3)}), strategy, 2,
        [](WavyLayer& layer) { layer.spec = levin::SGD{.lr = 0.05}; });
    for (const auto& after_epoch : values)
      for (size_t i = 0; i < 24; i++)
        BOOST_TEST((after_epoch[i] == 0 || after_epoch[i] == std::sin(static_cast<double>(i + 1)) ||
                    std::abs(after_epoch[i] - std::sin(static_cast<double>(i + 1))) < 1e-15));
    BOOST_TEST(zeros_in(weights_alone(values[0])) == 3);
    BOOST_TEST(zeros_in(weights_alone(values[1])) == 6);
  }
}

BOOST_AUTO_TEST_CASE(a_resumed_training_keeps_its_masks) {
  const levin::FSDP sharded{.sharding = {.share_parameters = levin::ShareParameters::none}};
  for (const bool structured : {false, true})
    for (const bool lottery : {false, true})
      for (const levin::StrategyConfig& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(sharded)}) {
        ModelPruningConfig config{.parameters_to_prune = {"net.weight"},
                                  .amount = Limit::batches(1),
                                  .use_global_unstructured = false,
                                  .use_lottery_ticket_hypothesis = lottery};
        if (structured) config.pruning_fn = PruningMethod::ln_structured, config.pruning_dim = 1, config.pruning_norm = 2;
        const auto change = [](WavyLayer& layer) { layer.spec = levin::AdamW{.lr = 0.02}; };
        const FolderOfRanks folder;
        const auto unbroken = train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), strategy, 4, change);
        train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), strategy, 2, change, folder.path);
        const auto resumed = train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), strategy, 4, change, folder.path);
        BOOST_TEST(resumed.size() == 2U);
        BOOST_TEST(resumed.back() == unbroken.back(), boost::test_tools::per_element());
      }
}

// Their length is not known before their end.
BOOST_AUTO_TEST_CASE(whole_epochs_of_streams_prune_and_those_that_max_steps_cuts_short_do_not) {
  for (const auto& unreached : {Limit::fraction(1), Limit::batches(1000)})
    for (const auto& [max_steps, expected] :
         std::vector<std::pair<int64_t, std::vector<int64_t>>>{{-1, {1, 2}}, {10, {1, 2}}, {7, {1, 1}}, {5, {1}}, {3, {0}}}) {
      const auto pruned = pruned_in_epochs_of_stream(unreached, max_steps);
      BOOST_TEST(pruned == expected, boost::test_tools::per_element());
    }
  BOOST_TEST(pruned_in_epochs_of_stream(Limit::batches(4), -1) == (std::vector<int64_t>{1, 2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(parameters_without_an_optimizer_are_not_pruned) {
  for (const auto& strategy : all_strategies()) {
    const auto pruning = std::make_shared<ModelPruning>();
    const auto values =
        train_pruned<WavyLayer, WideData>(pruning, strategy, 1, [](WavyLayer& layer) { layer.net->bias.set_requires_grad(false); });
    BOOST_TEST(pruning->prunable() == 24);
    BOOST_TEST(zeros_in(weights_alone(values[0])) == 12);
    BOOST_TEST(zeros_in(values[0]) == 12);
  }
}

// Their optimizer may train them again.
BOOST_AUTO_TEST_CASE(frozen_parameters_of_an_optimizer_are_pruned) {
  struct Freezes : ModelPruning {
    void on_fit_start() override {
      dynamic_cast<WavyLayer&>(module()).net->bias.set_requires_grad(false);
      ModelPruning::on_fit_start();
    }
  };
  for (const auto& strategy : all_strategies()) {
    const auto pruning = std::make_shared<Freezes>();
    const auto values = train_pruned<WavyLayer, WideData>(pruning, strategy, 1);
    BOOST_TEST(pruning->prunable() == 28);
    BOOST_TEST(zeros_in(values[0]) == 14);
  }
}

BOOST_AUTO_TEST_CASE(later_epochs_prune_what_is_left_at_most) {
  const auto zeros_of = [](const ModelPruningConfig& config) {
    std::vector<int64_t> zeros;
    for (const auto& values : train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), levin::DDP{}, 3))
      zeros.push_back(zeros_in(values));
    return zeros;
  };
  BOOST_TEST(zeros_of({.amount = Limit::batches(20)}) == (std::vector<int64_t>{20, 28, 28}), boost::test_tools::per_element());
  BOOST_TEST(zeros_of({.pruning_fn = PruningMethod::random_structured,
                       .parameters_to_prune = {"net.weight"},
                       .amount = Limit::batches(3),
                       .use_global_unstructured = false,
                       .pruning_dim = 0}) == (std::vector<int64_t>{18, 24, 24}),
             boost::test_tools::per_element());
}

// Before the first step.
BOOST_AUTO_TEST_CASE(an_amount_that_exceeds_the_model_is_refused_at_the_beginning) {
  struct Watched : ModelPruning {
    using ModelPruning::ModelPruning;
    void on_train_epoch_start() override { began = true; }
    bool began = false;
  };
  const auto refused = [](const ModelPruningConfig& config, const std::vector<std::string>& words) {
    const auto pruning = std::make_shared<Watched>(config);
    check_throws<levin::ConfigError>([&] { train_pruned<WavyLayer, WideData>(pruning, levin::DDP{}, 1); }, words);
    BOOST_TEST(!pruning->began);
  };
  refused({.amount = Limit::batches(29)}, {"29 of all elements", "28 are left"});
  refused({.amount = Limit::batches(5), .use_global_unstructured = false}, {"5 of the elements of net.bias", "4 are left"});
  refused({.pruning_fn = PruningMethod::random_structured,
           .parameters_to_prune = {"net.weight"},
           .amount = Limit::batches(7),
           .use_global_unstructured = false,
           .pruning_dim = 1},
          {"7 of the slices of net.weight", "6 are left"});
}

BOOST_AUTO_TEST_CASE(what_cannot_be_pruned_is_refused) {
  check_throws<levin::ConfigError>([] { ModelPruning({.pruning_fn = PruningMethod::ln_structured, .pruning_dim = 0, .pruning_norm = 2}); },
                                   {"use_global_unstructured"});
  check_throws<levin::ConfigError>([] { ModelPruning({.pruning_fn = PruningMethod::random_structured, .use_global_unstructured = false}); },
                                   {"pruning_dim"});
  const auto refused = [](const ModelPruningConfig& config, const std::vector<std::string>& words) {
    check_throws<levin::ConfigError>([&] { train_pruned<WavyLayer, WideData>(std::make_shared<ModelPruning>(config), levin::DDP{}, 2); },
                                     words);
  };
  refused({.parameters_to_prune = {"conv*"}}, {"no parameter matches conv*"});
  refused({.pruning_fn = PruningMethod::random_structured, .use_global_unstructured = false, .pruning_dim = 0},
          {"net.bias has 1 dimensions"});
  refused({.amount = Limit::batches(100)}, {"100 of all elements", "28 are left"});
}

BOOST_AUTO_TEST_SUITE_END()
