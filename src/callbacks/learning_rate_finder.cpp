#include "levin/callbacks/learning_rate_finder.h"

#include <fmt/format.h>

#include <cmath>

#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/trainer/module.h"
#include "levin/trainer/trainer.h"
#include "levin/trainer/training_trial.h"
#include "trial_table.h"

namespace levin {

void LearningRateFinderConfig::validate() const {
  if (min_lr >= max_lr)
    throw ConfigError(fmt::format("a learning rate finder searches from min_lr {} to max_lr {}", min_lr, max_lr),
                      "give a max_lr above min_lr", "callbacks");
}

LearningRateFinder::LearningRateFinder(const LearningRateFinderConfig& config) : config_(config) { check_config(config_); }

void LearningRateFinder::setup(Stage) {
  learning_rates_.clear(), losses_.clear(), raw_.clear();
  suggestion_.reset();
  searched_ = reports_ = false;
}

void LearningRateFinder::on_fit_start() {
  auto& session = trainer().session();
  if (trainer().config().fast_dev_run.batches > 0) {
    if (session.rank() == 0) session.runtime().log().warning("[callbacks] no learning rate is searched in a fast_dev_run");
    return;
  }
  if (const auto count = session.optimizers().size(); count != 1 || !module().automatic_optimization())
    throw ConfigError(fmt::format("a learning rate finder, and the model has {}",
                                  count == 1 ? "manual optimization" : fmt::format("{} optimizers", count)),
                      "it needs one optimizer and automatic optimization", "callbacks");
  if (!searched_) search();
  if (suggestion_ && config_.update_attr) session.strategy().set_base_lr(*suggestion_);
}

// As Lightning's schedules, which skip the second of num_training_steps + 1 rates.
double LearningRateFinder::learning_rate(int64_t step) const {
  if (step == 0) return config_.min_lr;
  const double part = static_cast<double>(step + 1) / static_cast<double>(config_.num_training_steps);
  return config_.mode == LearningRateMode::linear ? config_.min_lr + part * (config_.max_lr - config_.min_lr)
                                                  : config_.min_lr * std::pow(config_.max_lr / config_.min_lr, part);
}

void LearningRateFinder::search() {
  constexpr double beta = 0.98;
  auto& session = trainer().session();
  const auto& log = session.runtime().log();
  log.info("[callbacks] searching the learning rate in {} steps", config_.num_training_steps);
  TrainingTrial trial(trainer(), module());
  double average = 0, best = 0;
  trial.run({.steps = config_.num_training_steps,
             .learning_rate = [this](int64_t step) { return learning_rate(step); },
             .after_step =
                 [&](int64_t step, double loss) {
                   average = beta * average + (1 - beta) * loss;
                   const double smoothed = average / (1 - std::pow(beta, static_cast<double>(step + 2)));
                   learning_rates_.push_back(learning_rate(step));
                   raw_.push_back(loss);
                   losses_.push_back(smoothed);
                   const bool diverges =
                       config_.early_stop_threshold && step > 0 && !(smoothed <= *config_.early_stop_threshold * best);  // NaN, too
                   if (smoothed < best || step == 0) best = smoothed;
                   return !diverges;
                 }});
  trial.restore();
  if (session.must_exit()) return;  // the next attempt searches
  searched_ = reports_ = true;
  suggestion_ = steepest(learning_rates_, losses_);
  write();
  if (session.rank() != 0) return;
  if (!suggestion_)
    log.warning("[callbacks] no learning rate is suggested: the search made {} steps; raise num_training_steps, or min_lr", losses_.size());
  else
    log.info("[callbacks] the suggested learning rate, after {} steps: {}", losses_.size(), number_text(*suggestion_));
}

std::optional<double> LearningRateFinder::steepest(const std::vector<double>& learning_rates, const std::vector<double>& losses) {
  constexpr std::ptrdiff_t skipped_first = 10, skipped_last = 1;
  std::vector<double> x, y;
  for (std::ptrdiff_t i = skipped_first; i < std::ssize(losses) - skipped_last; i++)
    if (std::isfinite(losses[static_cast<size_t>(i)]))
      x.push_back(learning_rates[static_cast<size_t>(i)]), y.push_back(losses[static_cast<size_t>(i)]);
  if (y.size() < 2) return std::nullopt;
  const auto difference = [&](size_t from, size_t to) { return (y[to] - y[from]) / (x[to] - x[from]); };
  size_t steepest_at = 0;
  double least = 0;
  for (size_t i = 0; i < y.size(); i++) {
    double gradient = 0;
    if (i == 0) {
      gradient = difference(0, 1);
    } else if (i + 1 == y.size()) {
      gradient = difference(i - 1, i);
    } else {
      const double before = x[i] - x[i - 1], after = x[i + 1] - x[i];
      gradient = (difference(i - 1, i) * after + difference(i, i + 1) * before) / (before + after);
    }
    if (i == 0 || gradient < least) least = gradient, steepest_at = i;
  }
  return x[steepest_at];
}

void LearningRateFinder::write() const {
  std::string table = "lr,loss,smoothed_loss\n";
  for (size_t i = 0; i < losses_.size(); i++)
    table += fmt::format("{},{},{}\n", number_text(learning_rates_[i]), number_text(raw_[i]), number_text(losses_[i]));
  detail::write_trial_table(trainer(), "lr_finder.csv", table);
}

// The loggers have begun.
void LearningRateFinder::on_train_start() {
  if (reports_ && suggestion_) trainer().log_metrics({{"learning_rate_finder/suggestion", *suggestion_}});
  reports_ = false;
}

StateDict LearningRateFinder::state_dict() const {
  StateDict state;
  if (!searched_) return state;
  state.set("searched", true);
  if (suggestion_) state.set("suggestion", *suggestion_);
  return state;
}

void LearningRateFinder::load_state_dict(const StateDict& state) {
  searched_ = state.get<bool>("searched");
  if (state.contains("suggestion")) suggestion_ = state.get<double>("suggestion");
}

}  // namespace levin
