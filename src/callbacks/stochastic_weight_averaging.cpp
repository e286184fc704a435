#include "levin/callbacks/stochastic_weight_averaging.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "batch_norm_statistics.h"
#include "levin/core/error.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"

namespace levin {

void StochasticWeightAveragingConfig::validate() const {
  if (!swa_epoch_start.is_fraction() && swa_epoch_start.number() < 1)
    throw ConfigError(fmt::format("swa_epoch_start is {}", swa_epoch_start.to_text()), "give an epoch from 1 on, or a part such as 0.8",
                      "callbacks");
}

StochasticWeightAveraging::StochasticWeightAveraging(const StochasticWeightAveragingConfig& config)
    : WeightAveraging({.use_buffers = false}), config_(config) {
  check_config(config_);
}

void StochasticWeightAveraging::setup(Stage stage) {
  WeightAveraging::setup(stage);
  rate_at_start_ = 1;
  averaged_epoch_ = -1;
  finished_.reset();
  if (averages()) averages()->set_as_model(false);
  trainer().session().override_learning_rate(nullptr);
}

void StochasticWeightAveraging::teardown(Stage stage) {
  trainer().session().override_learning_rate(nullptr);
  WeightAveraging::teardown(stage);
}

// From 0 on.
int64_t StochasticWeightAveraging::start_epoch() const {
  const auto& start = config_.swa_epoch_start;
  const auto epoch =
      static_cast<int64_t>(start.is_fraction() ? start.number() * static_cast<double>(*trainer().config().max_epochs) : start.number());
  return std::max<int64_t>(epoch - 1, 0);
}

void StochasticWeightAveraging::on_fit_start() {
  if (const auto count = trainer().session().optimizers().size(); count != 1)
    throw ConfigError(fmt::format("stochastic weight averaging, and the model configures {} optimizers", count), "it needs exactly one",
                      "callbacks");
  if (config_.swa_epoch_start.is_fraction() && *trainer().config().max_epochs < 0)
    throw ConfigError(fmt::format("swa_epoch_start is {} of unlimited epochs", config_.swa_epoch_start.to_text()),
                      "give the number of an epoch, or set max_epochs", "callbacks");
  if (!module().automatic_optimization() && detail::has_batch_norm(module()))
    throw ConfigError("stochastic weight averaging of a model with batch normalization that optimizes manually",
                      "its statistics cannot be computed without taking steps; use ema_weight_averaging", "callbacks");
}

void StochasticWeightAveraging::on_train_start() {
  finished_ = false;
  if (averages()->started()) set_learning_rate(trainer().current_epoch());  // it may resume in the middle of an epoch
}

double StochasticWeightAveraging::annealed(AnnealingStrategy strategy, int64_t epochs, int64_t annealing_epochs) {
  const double part = annealing_epochs == 0 ? 1 : std::min(1.0, static_cast<double>(epochs) / static_cast<double>(annealing_epochs));
  return strategy == AnnealingStrategy::linear ? part : (1 - std::cos(std::numbers::pi * part)) / 2;
}

void StochasticWeightAveraging::set_learning_rate(int64_t epoch) {
  const double part = annealed(config_.annealing_strategy, epoch - start_epoch(), config_.annealing_epochs);
  trainer().session().override_learning_rate(
      [part, swa = config_.swa_lrs, at_start = rate_at_start_](double lr) { return swa * part + lr * at_start * (1 - part); });
}

void StochasticWeightAveraging::on_train_epoch_start() {
  const int64_t epoch = trainer().current_epoch();
  if (epoch < start_epoch() || epoch <= averaged_epoch_) return;
  auto& session = trainer().session();
  if (averaged_epoch_ < 0) {
    const double own = session.strategy().base_lr(), scheduled = session.learning_rate();
    rate_at_start_ = own > 0 ? scheduled / own : 1;
  }
  update();
  averaged_epoch_ = epoch;
  set_learning_rate(epoch);
}

// Before the last checkpoint. An epoch that max_steps cut short is not the last epoch's end.
void StochasticWeightAveraging::on_train_epoch_end() {
  const auto [done, total] = trainer().batch_progress();
  if (trainer().current_epoch() + 1 == *trainer().config().max_epochs && total > 0 && done == total) finish();
}

void StochasticWeightAveraging::on_train_end() {
  if (*trainer().config().max_epochs < 0 && !trainer().session().must_exit()) finish();
}

// Of a training that was stopped before its last epoch's end the averages stay beside the model. One that was complete before does not
// start: it leaves the model of its checkpoint.
bool StochasticWeightAveraging::ends_as_average() const { return finished_.value_or(averages()->were_model()); }

void StochasticWeightAveraging::finish() {
  if (!averages()->started()) return;
  finished_ = true;
  averages()->set_as_model(true);
  averages()->show(trainer().session());
  if (!detail::has_batch_norm(module())) return;
  detail::recompute_batch_norm(trainer(), module());
  averages()->take_buffers(trainer().session());
}

StateDict StochasticWeightAveraging::state_dict() const {
  auto state = WeightAveraging::state_dict();
  state.set("rate_at_start", rate_at_start_);
  state.set("averaged_epoch", averaged_epoch_);
  return state;
}

void StochasticWeightAveraging::load_state_dict(const StateDict& state) {
  WeightAveraging::load_state_dict(state);
  rate_at_start_ = state.get<double>("rate_at_start");
  averaged_epoch_ = state.get<int64_t>("averaged_epoch");
}

}  // namespace levin
