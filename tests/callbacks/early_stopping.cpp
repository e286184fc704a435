#include "levin/callbacks/early_stopping.h"

#include <cmath>

#include "../trainer/toy.h"
#include "levin/core/error.h"
#include "levin_test.h"

using namespace levin::test;
using levin::EarlyStoppingConfig;

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

// Epochs that are trained, and why they end.
std::pair<int64_t, std::string> train(EarlyStoppingConfig config, const std::vector<double>& scores, int64_t max_epochs = 10) {
  config.monitor = "score";
  ToyData data;
  levin::Trainer trainer({.max_epochs = max_epochs}, runtime());
  trainer.add_callback(std::make_shared<levin::EarlyStopping>(config));
  const auto module = trainer.build<Scripted>(scores);
  trainer.fit(*module, data);
  return {trainer.report().epochs, trainer.report().stop_reason};
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_SUITE(callbacks_early_stopping)

BOOST_AUTO_TEST_CASE(patience_counts_validations_without_improvement) {
  const auto [epochs, reason] = train({.patience = 2}, {5, 4, 4.5, 3, 3, 3.5, 1});
  BOOST_TEST(epochs == 6);
  BOOST_TEST(has(reason, "early stopping: score has not improved in 2 validations; the best was 3"));
}

BOOST_AUTO_TEST_CASE(more_is_better_in_mode_max) {
  BOOST_TEST(train({.patience = 1, .mode = levin::MonitorMode::max}, {1, 2, 3, 2, 9}).first == 4);
}

BOOST_AUTO_TEST_CASE(a_change_below_min_delta_is_no_improvement) {
  BOOST_TEST(train({.min_delta = 0.5, .patience = 2}, {5, 4.8, 4.6, 1}).first == 3);
  BOOST_TEST(train({.min_delta = 0.1, .patience = 2}, {5, 4.8, 4.6, 1, 1, 1}).first == 6);
}

BOOST_AUTO_TEST_CASE(thresholds_and_nan_stop_at_once) {
  BOOST_TEST(has(train({.stopping_threshold = 2}, {5, 4, 1}).second, "score 1 has reached the stopping_threshold 2"));
  BOOST_TEST(has(train({.divergence_threshold = 9}, {5, 10, 1}).second, "score 10 is beyond the divergence_threshold 9"));
  BOOST_TEST(has(train({}, {5, std::nan("")}).second, "score is nan; the best was 5"));
  BOOST_TEST(train({.check_finite = false}, {5, std::nan(""), 4, 3}, 4).first == 4);
}

BOOST_AUTO_TEST_CASE(the_last_epoch_ends_as_ever) {
  const auto [epochs, reason] = train({}, {5, 4, 3}, 3);
  BOOST_TEST(epochs == 3);
  BOOST_TEST(reason == "finished");
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
}

BOOST_AUTO_TEST_CASE(a_second_fit_starts_anew) {
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
