#include "levin/callbacks/learning_rate_finder.h"

#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <fstream>

#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::LearningRateFinder;
using levin::LearningRateFinderConfig;
using levin::LearningRateMode;

BOOST_AUTO_TEST_SUITE(callbacks_learning_rate_finder)

namespace {

// Draws random numbers, in a step and in a hook, and has a buffer that every step changes.
struct NoisyToy : ReferenceToy {
  NoisyToy() { seen = register_buffer("seen", at::zeros({1}, at::kFloat)); }
  void on_train_start() override { drawn = at::randn({1}, at::kDouble).item<double>(); }
  levin::Tensor training_step(const levin::Batch& batch) override {
    seen.add_(1);
    const auto& x = batch["x"];
    auto loss = at::mse_loss(net(x + at::randn(x.sizes(), x.options()) * 0.01), batch["y"]);
    log("train_loss", loss, {.on_epoch = true});
    return loss;
  }
  void validation_step(const levin::Batch&) override {}
  levin::Tensor seen;
  double drawn = 0;
};

struct SearchedTraining {
  std::vector<double> values;
  std::shared_ptr<LearningRateFinder> finder;
};

struct ShuffledData : ToyData {
  ShuffledData() : ToyData({.global_batch_size = 12}, 48, 12) {}
};

SearchedTraining train_noisy(const levin::StrategyConfig& strategy, double lr, const std::shared_ptr<LearningRateFinder>& finder,
                             int64_t epochs = 3, const std::filesystem::path& folder = {}, const levin::CheckpointReader* from = nullptr) {
  auto config = reference_config(epochs);
  config.session.strategy = strategy;
  config.session.gradient_clip_val = 0.5;
  ShuffledData data;
  levin::Trainer trainer(config, runtime(), 3);
  if (finder) trainer.add_callback(finder);
  if (!folder.empty()) trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder}));
  const auto module = trainer.build<NoisyToy>();
  module->spec = levin::AdamW{.lr = lr};
  module->spec.lr_scheduler = levin::StepLR{.step_size = 2, .gamma = 0.5};
  trainer.fit(*module, data, {.checkpoint = from});
  auto values = values_of(trainer.session());
  values.push_back(module->seen.item<double>());
  if (!from) values.push_back(module->drawn);
  values.push_back(*levin::find_value(trainer.report().metrics, "train_loss_epoch"));
  values.push_back(trainer.session().learning_rate());
  values.push_back(static_cast<double>(trainer.global_step()));
  return {values, finder};
}

std::shared_ptr<LearningRateFinder> small_search() {
  return std::make_shared<LearningRateFinder>(
      LearningRateFinderConfig{.min_lr = 1e-3, .max_lr = 1, .num_training_steps = 25, .early_stop_threshold = {}});
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_search_is_that_of_lightning) {
  for (const auto mode : {LearningRateMode::exponential, LearningRateMode::linear}) {
    const bool linear = mode == LearningRateMode::linear;
    const std::string name = linear ? "lr_linear" : "lr_exponential";
    auto config = reference_config(1);
    config.max_steps = 0;
    ReferenceData data;
    levin::Trainer trainer(config, runtime());
    const auto finder = std::make_shared<LearningRateFinder>(
        linear ? LearningRateFinderConfig{.min_lr = 1e-2, .max_lr = 2, .num_training_steps = 30, .mode = mode}
               : LearningRateFinderConfig{.min_lr = 1e-3, .max_lr = 3, .num_training_steps = 40, .mode = mode});
    trainer.add_callback(finder);
    const auto module = trainer.build<ReferenceToy>();
    trainer.fit(*module, data);
    check_recorded(finder->learning_rates(), name + "_rates", 1e-9, "finders.txt");
    check_recorded(finder->losses(), name + "_losses", 1e-9, "finders.txt");
    BOOST_REQUIRE(finder->suggestion());
    check_recorded({*finder->suggestion()}, name + "_suggestion", 1e-9, "finders.txt");
    BOOST_TEST(trainer.session().learning_rate() == *finder->suggestion());
  }
}

BOOST_AUTO_TEST_CASE(the_training_is_that_of_the_suggested_rate) {
  for (const levin::StrategyConfig& strategy :
       {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::DDP{.share_parameters = levin::ShareParameters::none}),
        levin::StrategyConfig(levin::Zero2{}), levin::StrategyConfig(levin::FSDP{}),
        levin::StrategyConfig(levin::FSDP{.sharding = {.share_parameters = levin::ShareParameters::none}})}) {
    const auto searched = train_noisy(strategy, 0.05, small_search());
    BOOST_TEST(searched.finder->losses().size() == 25U);
    BOOST_REQUIRE(searched.finder->suggestion());
    const auto plain = train_noisy(strategy, *searched.finder->suggestion(), nullptr);
    BOOST_TEST(searched.values == plain.values, boost::test_tools::per_element());
    BOOST_TEST(searched.values != train_noisy(strategy, 0.05, nullptr).values);
  }
}

BOOST_AUTO_TEST_CASE(a_resumed_training_keeps_the_suggestion) {
  const FolderOfRanks folder;
  auto unbroken = train_noisy(levin::DDP{}, 0.05, small_search(), 4);
  const auto first = train_noisy(levin::DDP{}, 0.05, small_search(), 2, folder.path);
  levin::Trainer helper({}, runtime());
  const levin::CheckpointReader checkpoint(folder.path / "step=000008", helper.session().communicator().cpu());
  const auto resumed = train_noisy(levin::DDP{}, 0.05, small_search(), 4, {}, &checkpoint);
  BOOST_TEST(resumed.finder->losses().empty());
  BOOST_TEST(*resumed.finder->suggestion() == *first.finder->suggestion());
  unbroken.values.erase(unbroken.values.end() - 4);  // drawn at its start
  BOOST_TEST(resumed.values == unbroken.values, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_search_ends_where_losses_or_gradients_are_not_finite) {
  struct Overflowing : NoisyToy {
    levin::Tensor training_step(const levin::Batch& batch) override {
      const auto loss = NoisyToy::training_step(batch);
      return trainer().session().learning_rate() > 0.1 ? loss * std::nan("") : loss;  // from the 17th step of the search on
    }
  };
  using enum levin::NonfiniteGradients;
  for (const auto policy : {ignore, skip, error})
    for (const bool stops : {true, false}) {
      auto config = reference_config(1);
      config.session.nonfinite_gradients = policy;
      ShuffledData data;
      levin::Trainer trainer(config, runtime(), 3);
      const auto finder = std::make_shared<LearningRateFinder>(LearningRateFinderConfig{
          .min_lr = 1e-3, .max_lr = 1, .num_training_steps = 25, .early_stop_threshold = stops ? std::optional(1e6) : std::nullopt});
      trainer.add_callback(finder);
      const auto module = trainer.build<Overflowing>();
      module->spec = levin::AdamW{.lr = 0.05};
      trainer.fit(*module, data);
      BOOST_TEST(finder->losses().size() == (policy == error ? 16U : stops ? 17U : 25U));
      BOOST_REQUIRE(finder->suggestion());
      BOOST_TEST(*finder->suggestion() < 0.1);
      BOOST_TEST(trainer.global_step() == 4);
      BOOST_TEST(trainer.session().scaling().skipped_steps() == 0);
      for (const double value : values_of(trainer.session())) BOOST_TEST(std::isfinite(value));
    }
}

BOOST_AUTO_TEST_CASE(results_are_written_and_logged) {
  const FolderOfRanks folder;
  ReferenceData data;
  levin::Trainer trainer(reference_config(1), runtime());
  trainer.set_default_root_dir(folder.path);
  const auto logger = std::make_shared<MemoryLogger>();
  trainer.add_logger(logger);
  const auto finder = std::make_shared<LearningRateFinder>(
      LearningRateFinderConfig{.min_lr = 1e-3, .max_lr = 30, .num_training_steps = 60, .update_attr = false});
  trainer.add_callback(finder);
  const auto module = trainer.build<ReferenceToy>();
  trainer.fit(*module, data);
  BOOST_TEST(finder->losses().size() < 60U);  // it diverges
  BOOST_TEST(trainer.session().learning_rate() == 0.05);
  BOOST_TEST(trainer.report().steps == 4);
  if (runtime().rank() != 0) return;
  std::ifstream file(folder.path / "lr_finder.csv");
  size_t lines = 0;
  for (std::string line; std::getline(file, line);) lines++;
  BOOST_TEST(lines == finder->losses().size() + 1);
  size_t logged = 0;
  for (const auto& row : logger->rows)
    if (const double* value = levin::find_value(row.values, "learning_rate_finder/suggestion")) {
      BOOST_TEST(*value == *finder->suggestion());
      logged++;
    }
  BOOST_TEST(logged == 1U);
}

BOOST_AUTO_TEST_CASE(the_steepest_point_is_found) {
  std::vector<double> rates, losses;
  for (int i = 0; i < 20; i++) rates.push_back(i), losses.push_back(i < 14 ? 10 - 0.1 * i : 5);
  BOOST_TEST(*LearningRateFinder::steepest(rates, losses) == 13);
  losses[15] = std::nan("");
  BOOST_TEST(*LearningRateFinder::steepest(rates, losses) == 14);
  rates.resize(12), losses.resize(12);
  BOOST_TEST(!LearningRateFinder::steepest(rates, losses));
}

BOOST_AUTO_TEST_CASE(what_has_no_learning_rate_to_find_is_refused) {
  check_throws<levin::ConfigError>([] { LearningRateFinder({.min_lr = 1, .max_lr = 1}); }, {"min_lr 1", "max_lr 1"});
  check_throws<levin::ConfigError>([] { LearningRateFinder({.min_lr = 0}); }, {"min_lr"});
  struct Manual : ReferenceToy {
    bool automatic_optimization() const override { return false; }
  };
  ReferenceData data;
  levin::Trainer trainer(reference_config(1), runtime());
  trainer.add_callback(small_search());
  const auto module = trainer.build<Manual>();
  check_throws<levin::ConfigError>([&] { trainer.fit(*module, data); }, {"manual optimization"});
}

BOOST_AUTO_TEST_SUITE_END()
