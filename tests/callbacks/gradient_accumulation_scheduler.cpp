#include "levin/callbacks/gradient_accumulation_scheduler.h"

#include "folder_of_ranks.h"
#include "levin/callbacks/model_checkpoint.h"
#include "levin/checkpoint/checkpoint_reader.h"
#include "levin/core/error.h"
#include "reference_toy.h"

using namespace levin::test;
using levin::GradientAccumulationScheduler;
using levin::GradientAccumulationSchedulerConfig;

BOOST_AUTO_TEST_SUITE(callbacks_gradient_accumulation_scheduler)

namespace {

const GradientAccumulationSchedulerConfig schedule{.scheduling = {{"0", 2}, {"1", 4}, {"3", 1}}};

}  // namespace

BOOST_AUTO_TEST_CASE(epochs_have_the_micro_batches_of_the_last_key_before_them) {
  const GradientAccumulationScheduler late({.scheduling = {{"10", 3}, {"2", 5}}});
  for (const auto& [epoch, batches] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {1, 1}, {2, 5}, {9, 5}, {10, 3}, {99, 3}})
    BOOST_TEST(late.accumulate_grad_batches(epoch).value() == batches, "epoch " << epoch);
}

// Of four batches an epoch: steps of 2, 2; 4; 4; 1, 1, 1, 1; 1, 1, 1, 1.
BOOST_AUTO_TEST_CASE(a_scheduled_training_is_that_of_lightning) {
  for (const levin::StrategyConfig& strategy : {levin::StrategyConfig(levin::DDP{}), levin::StrategyConfig(levin::FSDP{})}) {
    auto config = reference_config(5);
    config.session.strategy = strategy;
    ReferenceData data;
    levin::Trainer trainer(config, runtime());
    trainer.add_callback(std::make_shared<GradientAccumulationScheduler>(schedule));
    const auto module = trainer.build<ReferenceToy>();
    trainer.fit(*module, data);
    BOOST_TEST(trainer.global_step() == 12);
    BOOST_TEST(trainer.session().progress().total_steps == 12);
    BOOST_TEST(module->calls["training_step"] == 20);
    check_recorded(values_of(trainer.session()), "accumulation");
  }
}

BOOST_AUTO_TEST_CASE(a_training_resumes_with_the_accumulation_of_its_epoch) {
  const FolderOfRanks folder;
  const auto train = [&](int64_t epochs, int64_t max_steps) {
    auto config = reference_config(epochs);
    config.max_steps = max_steps;
    ReferenceData data;
    levin::Trainer trainer(config, runtime());
    trainer.add_callback(std::make_shared<GradientAccumulationScheduler>(schedule));
    trainer.add_callback(std::make_shared<levin::ModelCheckpoint>(levin::ModelCheckpointConfig{.dirpath = folder.path, .save_top_k = -1}));
    const auto module = trainer.build<ReferenceToy>();
    const auto last = levin::newest_checkpoint(folder.path, trainer.session().communicator().cpu());
    trainer.fit(*module, data, {last.reader.get()});
    return values_of(trainer.session());
  };
  train(1, -1);  // at an epoch's end, where the accumulation changes
  train(5, 5);   // in the middle of the fourth epoch
  check_recorded(train(5, -1), "accumulation");
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  using Config = GradientAccumulationSchedulerConfig;
  check_throws<levin::ConfigError>([] { GradientAccumulationScheduler({}); }, {"without scheduling"});
  check_throws<levin::ConfigError>([] { GradientAccumulationScheduler(Config{.scheduling = {{"one", 2}}}); }, {"\"one\" for an epoch"});
  check_throws<levin::ConfigError>([] { GradientAccumulationScheduler(Config{.scheduling = {{"-1", 2}}}); }, {"\"-1\" for an epoch"});
  check_throws<levin::ConfigError>([] { GradientAccumulationScheduler(Config{.scheduling = {{"0", 0}}}); }, {"too small"});
  auto config = reference_config(1);
  config.accumulate_grad_batches = 2;
  ReferenceData data;
  levin::Trainer trainer(config, runtime());
  trainer.add_callback(std::make_shared<GradientAccumulationScheduler>(schedule));
  const auto module = trainer.build<ReferenceToy>();
  try {
    trainer.fit(*module, data);
    BOOST_ERROR("nothing was thrown");
  } catch (const levin::Error& error) {  // of this rank, or of a faster one
    BOOST_TEST(std::string(error.what()).find("trainer.accumulate_grad_batches is 2") != std::string::npos, error.what());
  }
}

BOOST_AUTO_TEST_SUITE_END()
