#include "levin/trainer/trainer_config.h"

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "levin/core/config_options.h"
#include "levin/core/error.h"
#include "levin/trainer/logger.h"
#include "levin_test.h"
#include "test_paths.h"

using levin::FastDevRun;
using levin::Limit;
using levin::TrainerConfig;
using levin::test::check_throws;

BOOST_AUTO_TEST_SUITE(trainer_trainer_config)

namespace {

// Where changing a field is seen to change what happens: SUITE/CASE of this program, or "run_test NAME" for what only a whole program
// shows (the function test_NAME of tests/cli/run_test).
const std::map<std::string, std::string> test_of_field{
    {"accelerator", "trainer_trainer/accelerator"},
    {"strategy", "trainer_trainer/strategy"},
    {"strategy.share_parameters", "trainer_trainer/strategy"},
    {"strategy.sharding_strategy", "parallel_sharding_plan/sharding_strategies_are_strategies"},
    {"strategy.min_num_params", "parallel_sharding/options_change_what_is_held"},
    {"strategy.reshard_after_forward", "parallel_sharding/options_change_what_is_held"},
    {"strategy.reduce_every_backward", "parallel_sharding/options_change_what_is_held"},
    {"strategy.prefetch", "parallel_sharding/options_change_what_is_held"},
    {"strategy.limit_all_gathers", "parallel_sharding/options_change_what_is_held"},
    {"strategy.shard_group_size", "parallel_sharding_plan/private_plans"},
    {"strategy.param_dtype", "parallel_sharding/units_are_gathered_in_another_dtype"},
    {"strategy.reduce_dtype", "parallel_sharding/gradients_are_summed_in_another_dtype"},
    {"strategy.offload_parameters", "device_plugin/shards_as_one_rank_does"},
    {"strategy.offload_optimizer", "device_plugin/shards_as_one_rank_does"},
    {"activation_checkpointing", "session_session/activation_checkpointing"},
    {"precision", "trainer_precision/dtypes_of_every_precision"},
    {"loss_scaling.init_scale", "trainer_precision/loss_scaling"},
    {"loss_scaling.growth_factor", "trainer_precision/loss_scaling"},
    {"loss_scaling.backoff_factor", "trainer_precision/loss_scaling"},
    {"loss_scaling.growth_interval", "trainer_precision/loss_scaling"},
    {"nonfinite_gradients", "trainer_precision/nonfinite_gradients"},
    {"gradient_clip_val", "trainer_trainer/gradient_clip_val"},
    {"gradient_clip_algorithm", "trainer_trainer/gradient_clip_algorithm"},
    {"num_threads", "trainer_trainer/num_threads"},
    {"window_directory", "trainer_trainer/window_directory"},
    {"comm_timeout", "trainer_trainer/comm_timeout"},
    {"devices", "trainer_trainer/devices"},
    {"num_nodes", "trainer_trainer/num_nodes"},
    {"max_epochs", "trainer_trainer/max_epochs"},
    {"min_epochs", "trainer_trainer/min_epochs"},
    {"min_steps", "trainer_trainer/min_steps"},
    {"max_time", "trainer_trainer/max_time"},
    {"overfit_batches", "trainer_trainer/overfit_batches"},
    {"deterministic", "trainer_trainer/deterministic"},
    {"benchmark", "trainer_trainer/benchmark"},
    {"enable_autolog_hparams", "run_test enable_autolog_hparams"},
    {"inference_mode", "trainer_loader_options/evaluations_may_run_in_inference_mode"},
    {"profiler", "run_test profiler"},
    {"reload_dataloaders_every_n_epochs", "trainer_loader_options/loaders_are_reloaded_every_n_epochs"},
    {"sync_batchnorm", "trainer_sync_batchnorm/every_strategy_trains_as_one_rank_on_the_whole_batch"},
    {"use_distributed_sampler", "trainer_loader_options/each_rank_may_have_its_own_part_of_the_data"},
    {"matmul_precision", "trainer_trainer/matmul_precision"},
    {"detect_anomaly", "trainer_trainer/detect_anomaly"},
    {"barebones", "trainer_trainer/barebones"},
    {"max_steps", "trainer_trainer/max_steps"},
    {"limit_train_batches", "trainer_trainer/limit_train_batches"},
    {"limit_val_batches", "trainer_trainer/limit_val_batches"},
    {"limit_test_batches", "trainer_trainer/limit_test_batches"},
    {"limit_predict_batches", "trainer_trainer/limit_predict_batches"},
    {"fast_dev_run", "trainer_trainer/fast_dev_run"},
    {"accumulate_grad_batches", "trainer_trainer/accumulate_grad_batches"},
    {"val_check_interval", "trainer_trainer/val_check_interval"},
    {"check_val_every_n_epoch", "trainer_trainer/check_val_every_n_epoch"},
    {"num_sanity_val_steps", "trainer_trainer/num_sanity_val_steps"},
    {"log_every_n_steps", "trainer_trainer/log_every_n_steps"},
    {"enable_progress_bar", "run_test enable_progress_bar"},
    {"enable_model_summary", "run_test enable_model_summary"},
    {"enable_checkpointing", "run_test enable_checkpointing"},
    {"callbacks", "trainer_trainer/callbacks"},
    {"logger", "trainer_trainer/logger"},
    {"test_after_fit", "trainer_trainer/test_after_fit"},
};

levin::LoggerRegistry one_logger() {
  struct Memory : levin::Logger {
    void log_metrics(const levin::NamedValues&, int64_t, int64_t) override {}
  };
  levin::LoggerRegistry registry;
  registry.add<Memory>("memory");
  return registry;
}

bool exists(const std::string& test) {
  namespace framework = boost::unit_test::framework;
  if (const std::string script = "run_test "; test.starts_with(script)) {
    std::ifstream file(std::string(LEVIN_TESTS) + "/cli/run_test");
    std::stringstream text;
    text << file.rdbuf();
    return text.str().find("\ndef test_" + test.substr(script.size()) + "():\n") != std::string::npos;
  }
  const auto slash = test.find('/');
  const auto suite = framework::master_test_suite().get(test.substr(0, slash));
  if (suite == boost::unit_test::INV_TEST_UNIT_ID) return false;
  return framework::get<boost::unit_test::test_suite>(suite).get(test.substr(slash + 1)) != boost::unit_test::INV_TEST_UNIT_ID;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_field_names_its_test) {
  std::set<std::string> fields;
  for (const auto& option : levin::list_options(levin::config_type<TrainerConfig>()))
    if (!option.is_struct) fields.insert(option.path);
  BOOST_TEST(fields.size() > 20u);
  for (const auto& field : fields) {
    const auto test = test_of_field.find(field);
    BOOST_REQUIRE_MESSAGE(test != test_of_field.end(), "no test is named for trainer." << field);
    BOOST_TEST(exists(test->second), test->second << ", the test of trainer." << field << ", does not exist");
  }
  for (const auto& [field, test] : test_of_field) BOOST_TEST(fields.contains(field), "trainer." << field << " is no longer a field");
  BOOST_TEST(!exists("trainer_trainer/no_such_case"));
  BOOST_TEST(!exists("no_such_suite/max_epochs"));
  BOOST_TEST(!exists("run_test no_such_test"));
}

BOOST_AUTO_TEST_CASE(fast_dev_run_is_a_flag_or_a_number) {
  BOOST_TEST(FastDevRun::from_text("true")->batches == 1);
  BOOST_TEST(FastDevRun::from_text("false")->batches == 0);
  BOOST_TEST(FastDevRun::from_text("7")->batches == 7);
  for (const auto* text : {"", "-1", "7x", "1.5", "yes", " 7", "99999999999999999999"}) BOOST_TEST(!FastDevRun::from_text(text), text);
  for (int64_t batches : {0, 1, 7}) BOOST_TEST(FastDevRun::from_text(FastDevRun{batches}.to_text())->batches == batches);
}

BOOST_AUTO_TEST_CASE(check_interval_is_batches_a_part_or_a_time) {
  using levin::CheckInterval;
  BOOST_TEST(CheckInterval::from_text("10")->limit()->number() == 10);
  BOOST_TEST(CheckInterval::from_text("0.25")->limit()->is_fraction());
  BOOST_TEST(CheckInterval::from_text("00:15:00")->time()->value == 900);
  BOOST_TEST(CheckInterval::from_text("01:00:00:00")->time()->value == 86400);
  BOOST_TEST(CheckInterval::from_text("15 min")->time()->value == 900);
  for (const auto* text : {"", "-1", "1.5", "2e0", "soon", "15:00"}) BOOST_TEST(!CheckInterval::from_text(text), text);
  for (const auto* text : {"10", "0.25", "00:15:00"}) BOOST_TEST(CheckInterval::from_text(text)->to_text() == text);
}

BOOST_AUTO_TEST_CASE(barebones_bears_nothing_that_costs_speed) {
  const auto refused = [](TrainerConfig config, const std::string& option) {
    config.barebones = true;
    check_throws<levin::ConfigError>([&] { config.resolved(); }, {"barebones with " + option});
    config.barebones = false;
    config.resolved();
  };
  refused({.enable_progress_bar = true}, "enable_progress_bar");
  refused({.enable_model_summary = true}, "enable_model_summary");
  refused({.num_sanity_val_steps = 1}, "num_sanity_val_steps");
  refused({.log_every_n_steps = 10}, "log_every_n_steps");
  refused({.fast_dev_run = {1}}, "fast_dev_run");
  refused({.detect_anomaly = true}, "detect_anomaly");
  TrainerConfig logging;
  logging.logger.offer(one_logger());
  auto named = levin::ConfigValue::map();
  named.add("logger", levin::ConfigValue::scalar("memory"));
  levin::read_config(logging, named);
  refused(logging, "logger");
  TrainerConfig{.num_sanity_val_steps = 0, .enable_progress_bar = false, .barebones = true}.resolved();
}

BOOST_AUTO_TEST_CASE(epochs_without_a_number_are_decided_by_other_limits) {
  BOOST_TEST(*TrainerConfig{}.resolved().max_epochs == 1000);
  BOOST_TEST(*TrainerConfig{.max_steps = 3}.resolved().max_epochs == -1);
  BOOST_TEST(*TrainerConfig{.max_time = levin::Seconds{3}}.resolved().max_epochs == -1);
  BOOST_TEST(*TrainerConfig{.min_steps = 3}.resolved().min_epochs == 1);
}

BOOST_AUTO_TEST_CASE(validation_between_batches_that_do_not_exist) {
  TrainerConfig config;
  config.validate();
  config.val_check_interval = Limit::batches(0);
  check_throws<levin::ConfigError>([&] { config.validate(); }, {"val_check_interval is 0"});
  config.val_check_interval = Limit::fraction(0);
  check_throws<levin::ConfigError>([&] { config.validate(); }, {"val_check_interval is 0"});
  config.val_check_interval = Limit::fraction(0.5);
  config.check_val_every_n_epoch = {};
  check_throws<levin::ConfigError>([&] { config.validate(); }, {"check_val_every_n_epoch is null", "0.5"});
}

BOOST_AUTO_TEST_SUITE_END()
