#include "levin/callbacks/early_stopping.h"

#include <cmath>

#include "../trainer/toy.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::EarlyStoppingConfig;
using Reason = levin::EarlyStoppingReason;

BOOST_AUTO_TEST_SUITE(callbacks_early_stopping)

namespace {

// Validation logs one given value after another: the same number of samples a rank, so the mean is that value.
struct Scripted : levin::Module {
  explicit Scripted(std::vector<double> given) : values(std::move(given)) { net = register_module("net", torch::nn::Linear(4, 1)); }
  levin::Tensor training_step(const levin::Batch& batch) override { return at::mse_loss(net(batch["x"]), batch["y"]); }
  void validation_step(const levin::Batch&) override {
    log("score", is_checked ? values[std::min(epoch, values.size() - 1)] : std::nan(""));  // a sanity check must not count
  }
  void on_train_start() override { is_checked = true; }
  void on_train_end() override { is_checked = false; }
  void on_validation_end() override { epoch += is_checked ? 1 : 0; }
  std::vector<levin::OptimizerSpec> configure_optimizers() override { return {levin::SGD{.lr = 0.01}}; }

  torch::nn::Linear net{nullptr};
  std::vector<double> values;
  size_t epoch = 0;
  bool is_checked = false;
};

struct Stopped {
  int64_t epochs;
  std::string reason;
  std::shared_ptr<levin::EarlyStopping> callback;
};

// Epochs that are trained, and why they end.
Stopped train(EarlyStoppingConfig config, const std::vector<double>& scores, levin::TrainerConfig options = {}) {
  config.monitor = "score";
  if (!options.max_epochs) options.max_epochs = 10;
  ToyData data;
  levin::Trainer trainer(options, runtime());
  const auto callback = std::make_shared<levin::EarlyStopping>(config);
  trainer.add_callback(callback);
  const auto module = trainer.build<Scripted>(scores);
  trainer.fit(*module, data);
  return {trainer.report().epochs, trainer.report().stop_reason, callback};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_CASE(patience_counts_validations_without_improvement) {
  const auto [epochs, reason, callback] = train({.patience = 2}, {5, 4, 4.5, 3, 3, 3.5, 1});
  BOOST_TEST(epochs == 6);
  BOOST_TEST(callback->stopped_epoch() == 5);
  BOOST_TEST(callback->wait_count() == 2);
  BOOST_TEST(callback->best_score() == 3);
  BOOST_TEST((callback->stopping_reason() == Reason::patience_exhausted));
  BOOST_TEST(reason == "early stopping: " + callback->stopping_reason_message());
  BOOST_TEST(has(reason, "early stopping: score has not improved in 2 checks; the best was 3"));
}

BOOST_AUTO_TEST_CASE(more_is_better_in_mode_max) {
  BOOST_TEST(train({.patience = 1, .mode = levin::MonitorMode::max}, {1, 2, 3, 2, 9}).epochs == 4);
}

BOOST_AUTO_TEST_CASE(a_change_below_min_delta_is_no_improvement) {
  BOOST_TEST(train({.min_delta = 0.5, .patience = 2}, {5, 4.8, 4.6, 1}).epochs == 3);
  BOOST_TEST(train({.min_delta = 0.1, .patience = 2}, {5, 4.8, 4.6, 1, 1, 1}).epochs == 6);
  BOOST_TEST(train({.min_delta = 1, .patience = 1}, {5, 4, 1}).epochs == 2);  // nor is one of min_delta
  BOOST_TEST(train({.min_delta = 1, .patience = 1, .mode = levin::MonitorMode::max}, {1, 2.5, 3.5, 9}).epochs == 3);
}

BOOST_AUTO_TEST_CASE(thresholds_and_nan_stop_at_once) {
  const auto check = [](const EarlyStoppingConfig& config, const std::vector<double>& scores, Reason why, const std::string& words) {
    const auto [epochs, reason, callback] = train(config, scores);
    BOOST_TEST((callback->stopping_reason() == why));
    BOOST_TEST(reason == "early stopping: " + words);
    BOOST_TEST(callback->stopped_epoch() == epochs - 1);
  };
  constexpr auto max = levin::MonitorMode::max;
  check({.stopping_threshold = 2}, {5, 2, 1}, Reason::stopping_threshold, "score 1 is better than the stopping_threshold 2");
  check({.mode = max, .stopping_threshold = 2}, {1, 2, 3}, Reason::stopping_threshold, "score 3 is better than the stopping_threshold 2");
  check({.divergence_threshold = 9}, {5, 9, 10}, Reason::divergence_threshold, "score 10 is worse than the divergence_threshold 9");
  check({.mode = max, .divergence_threshold = -1}, {5, -2}, Reason::divergence_threshold,
        "score -2 is worse than the divergence_threshold -1");
  check({}, {5, std::nan("")}, Reason::non_finite_metric, "score is nan; the best was 5");
  check({.mode = max}, {5, INFINITY}, Reason::non_finite_metric, "score is inf; the best was 5");
  // NaN is no improvement, and no value either.
  BOOST_TEST(train({.patience = 2, .check_finite = false}, {5, std::nan(""), 4, 3, std::nan(""), 3}).epochs == 6);
}

BOOST_AUTO_TEST_CASE(the_last_epoch_ends_as_ever) {
  const auto [epochs, reason, callback] = train({}, {5, 4, 3}, {.max_epochs = 3});
  BOOST_TEST(epochs == 3);
  BOOST_TEST(reason == "finished");
  BOOST_TEST((callback->stopping_reason() == Reason::not_stopped));
  BOOST_TEST(callback->stopping_reason_message().empty());
}

// Five batches an epoch, a validation after the second and the fourth.
BOOST_AUTO_TEST_CASE(several_validations_an_epoch_are_several_checks) {
  const levin::TrainerConfig twice{.val_check_interval = levin::Limit::batches(2)};
  BOOST_TEST(train({.patience = 2}, {5, 6, 7, 1}, twice).epochs == 2);
  BOOST_TEST(train({.patience = 2, .check_on_train_epoch_end = true}, {5, 6, 4, 3, 3.5, 2, 2, 2, 9, 9}, twice).epochs ==
             5);  // every second
  const auto stopped = train({.patience = 1, .check_on_train_epoch_end = false}, {5, 6, 7, 1});
  BOOST_TEST(stopped.epochs == 2);
}

BOOST_AUTO_TEST_CASE(a_metric_of_the_training_is_that_of_the_epoch_that_ends) {
  struct Trained : Scripted {
    using Scripted::Scripted;
    levin::Tensor training_step(const levin::Batch& batch) override {
      log("score", values[std::min(trained++ / 5, values.size() - 1)], {.on_step = false, .on_epoch = true});
      return Scripted::training_step(batch);
    }
    void validation_step(const levin::Batch&) override {}
    size_t trained = 0;
  };
  ToyData data;
  levin::Trainer trainer({.max_epochs = 10}, runtime());
  const auto callback = std::make_shared<levin::EarlyStopping>(EarlyStoppingConfig{.monitor = "score", .patience = 2});
  trainer.add_callback(callback);
  const auto module = trainer.build<Trained>(std::vector<double>{5, 4, 4.5, 6, 1});
  trainer.fit(*module, data);
  BOOST_TEST(trainer.report().epochs == 4);
  BOOST_TEST(callback->best_score() == 4);
}

BOOST_AUTO_TEST_CASE(a_metric_logged_by_step_and_epoch_is_found_by_its_plain_name) {
  struct Both : Scripted {
    using Scripted::Scripted;
    levin::Tensor training_step(const levin::Batch& batch) override {
      log("score", values[trained++ % 5], {.on_epoch = true});  // the same mean in each epoch, and the step values differ
      return Scripted::training_step(batch);
    }
    void validation_step(const levin::Batch&) override {}
    size_t trained = 0;
  };
  ToyData data;
  for (const auto& [name, best] : {std::pair{"score", 3.0}, {"score_epoch", 3.0}, {"score_step", 5.0}}) {
    levin::Trainer trainer({.max_epochs = 4, .log_every_n_steps = 1}, runtime());
    const auto callback = std::make_shared<levin::EarlyStopping>(EarlyStoppingConfig{.monitor = name, .patience = 2});
    trainer.add_callback(callback);
    const auto module = trainer.build<Both>(std::vector<double>{1, 2, 3, 4, 5});
    trainer.fit(*module, data);
    BOOST_TEST(trainer.report().epochs == 3);
    BOOST_TEST(callback->best_score() == best);
  }
}

BOOST_AUTO_TEST_CASE(the_request_that_stops_the_training_gives_the_reason) {
  struct Ended : Scripted {
    using Scripted::Scripted;
    void on_train_batch_start(const levin::Batch&, int64_t) override { owner->session().request_stop(levin::StopReason::requested); }
    levin::Trainer* owner = nullptr;
  };
  ToyData data;
  for (const bool at_epoch_end : {true, false}) {
    levin::Trainer trainer({.max_epochs = 10}, runtime());
    trainer.add_callback(std::make_shared<levin::EarlyStopping>(
        EarlyStoppingConfig{.monitor = "score", .stopping_threshold = 9, .check_on_train_epoch_end = at_epoch_end}));
    const auto module = trainer.build<Ended>(std::vector<double>{5});
    module->owner = &trainer;
    trainer.fit(*module, data);  // the last validation is better than the threshold
    BOOST_TEST(trainer.report().stop_reason == "stopped early");
  }
}

BOOST_AUTO_TEST_CASE(an_epoch_without_validation_is_not_missed_when_it_is_cut_short) {
  BOOST_TEST(train({}, {5}, {.max_steps = 2}).reason == "finished");  // no validation at all
  BOOST_TEST(train({.stopping_threshold = 9}, {5}, {.fast_dev_run = {1}}).reason == "finished");
}

BOOST_AUTO_TEST_CASE(a_stop_waits_for_min_epochs) {
  const auto stopped = train({.stopping_threshold = 9}, {5, 6, 7}, {.min_epochs = 3});
  BOOST_TEST(stopped.epochs == 3);
  BOOST_TEST(stopped.reason == "early stopping: score 5 is better than the stopping_threshold 9");
}

BOOST_AUTO_TEST_CASE(an_unknown_metric_is_an_error_or_passed_over) {
  const auto fit_with = [](bool strict) {
    ToyData data;
    levin::Trainer trainer({.max_epochs = 2}, runtime());
    trainer.add_callback(std::make_shared<levin::EarlyStopping>(EarlyStoppingConfig{.monitor = "val_los", .strict = strict}));
    const auto module = trainer.build<Toy>();
    trainer.fit(*module, data);
    return trainer.report().epochs;
  };
  check_throws<levin::ConfigError>([&] { fit_with(true); }, {"\"val_los\"", "val_loss"});
  BOOST_TEST(fit_with(false) == 2);
  const std::vector<std::string> required{"a"};
  BOOST_TEST(levin::EarlyStopping(EarlyStoppingConfig{.monitor = "a"}).required_metrics() == required, boost::test_tools::per_element());
  BOOST_TEST(levin::EarlyStopping(EarlyStoppingConfig{.monitor = "a", .strict = false}).required_metrics().empty());
}

BOOST_AUTO_TEST_CASE(a_second_fit_starts_over) {
  ToyData data;
  levin::Trainer trainer({.max_epochs = 2}, runtime());
  trainer.add_callback(std::make_shared<levin::EarlyStopping>(EarlyStoppingConfig{.monitor = "score", .patience = 1}));
  const auto module = trainer.build<Scripted>(std::vector<double>{1, 2});
  trainer.fit(*module, data);
  BOOST_TEST(has(trainer.report().stop_reason, "early stopping"));
  trainer.session().progress() = {};
  module->epoch = 0, module->values = {2, 1};
  trainer.fit(*module, data);
  BOOST_TEST(trainer.report().stop_reason == "finished");
  BOOST_TEST(trainer.report().epochs == 4);
}

BOOST_AUTO_TEST_SUITE_END()
