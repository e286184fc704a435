// The program of docs/modules.md.
#include "docs/modules_guide.h"
#include "run_guide.h"

using levin::test::run_guide;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(docs_modules)

BOOST_AUTO_TEST_CASE(the_program_runs) {
  for (const auto* subcommand : {"fit", "validate", "test", "predict"})
    BOOST_TEST(run_guide(modules_guide::main, {subcommand, "--trainer.fast_dev_run", "2", "--model.width", "8"}) == 0);
  const std::vector<std::string> gan{
      "fit", "--trainer.fast_dev_run", "7", "--model", "gan", "--model.lr", "0.01", "--trainer.callbacks", "[epoch_time, early_stopping]"};
  BOOST_TEST(run_guide(modules_guide::main, gan) == 0);
}

BOOST_AUTO_TEST_CASE(its_model_learns) {
  levin::Trainer trainer({.max_epochs = 6}, runtime());
  const auto model = trainer.build<modules_guide::Classifier>(modules_guide::ClassifierConfig{});
  modules_guide::Quadrants data;
  trainer.fit(*model, data);
  BOOST_TEST(*levin::find_value(trainer.report().metrics, "val_acc") > 0.9);
  BOOST_TEST(*levin::find_value(trainer.report().metrics, "val_largest_loss") > *levin::find_value(trainer.report().metrics, "val_loss"));
  BOOST_TEST(*levin::find_value(trainer.report().metrics, "gradient_rms") > 0);
}

BOOST_AUTO_TEST_CASE(its_gan_steps_both_optimizers_and_keeps_the_critic_small) {
  levin::Trainer trainer({.max_steps = 7, .log_every_n_steps = 1}, runtime());
  const auto gan = trainer.build<modules_guide::Gan>(modules_guide::GanConfig{});
  modules_guide::Quadrants data;
  trainer.fit(*gan, data);
  BOOST_TEST(trainer.global_step() == 7);
  BOOST_TEST(levin::find_value(trainer.report().metrics, "generator_loss") != nullptr);
  for (const auto& item : gan->named_parameters())
    BOOST_TEST((item.value().abs().max().item<float>() <= 0.1f) == item.key().starts_with("critic."), item.key());
}

BOOST_AUTO_TEST_SUITE_END()
