#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// How the learning rate of a search grows from step to step.
enum class LearningRateMode { exponential, linear };
LEVIN_ENUM(LearningRateMode, (exponential, "exponential"), (linear, "linear"))

/// Lightning's arguments of LearningRateFinder.
struct LearningRateFinderConfig {
  double min_lr = 1e-8;
  double max_lr = 1;
  int64_t num_training_steps = 100;
  LearningRateMode mode = LearningRateMode::exponential;
  std::optional<double> early_stop_threshold = 4.0;
  bool update_attr = true;

  void validate() const;
};
LEVIN_CONFIG(LearningRateFinderConfig, (min_lr, "learning rate of the first step", greater_than(0)),
             (max_lr, "learning rate of the last step", greater_than(0)), (num_training_steps, "steps of the search", at_least(1)),
             (mode, "how the learning rate grows"),
             (early_stop_threshold, "end the search at a loss of NaN, or of this times the best; null: do not", greater_than(0)),
             (update_attr, "train with the suggested learning rate; false: report it alone"))
LEVIN_CHOICE(LearningRateFinderConfig, "learning_rate_finder")

/// Before a training, takes steps with growing learning rates, suggests the one where the loss fell most steeply, and brings the training
/// back to where it was: model, optimizer, random numbers and data (see TrainingTrial). The training is then that of the suggested learning
/// rate from its beginning. Parameters whose rule gives them another learning rate keep theirs, during the search, too. All ranks get
/// the same suggestion, from the loss over all ranks. Writes lr_finder.csv to the run's folder, and logs learning_rate_finder/suggestion.
/// A step whose gradient would end a training (nonfinite_gradients: error) ends the search alone.
/// A training that resumes takes the suggestion from its checkpoint. Does nothing in a fast_dev_run. ConfigError unless the module has
/// one optimizer and automatic optimization.
class LearningRateFinder : public Callback {
 public:
  using Config = LearningRateFinderConfig;
  explicit LearningRateFinder(const LearningRateFinderConfig& config = {});

  void setup(Stage stage) override;
  void on_fit_start() override;
  void on_train_start() override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  /// The suggested learning rate; null before the search, or where it made too few steps.
  std::optional<double> suggestion() const noexcept { return suggestion_; }
  /// Of each step of this attempt's search: its learning rate, and the loss, smoothed as Lightning smooths it.
  const std::vector<double>& learning_rates() const noexcept { return learning_rates_; }
  const std::vector<double>& losses() const noexcept { return losses_; }

  /// The learning rate where the loss has its most negative gradient, without the first 10 steps and the last; null for less than two
  /// finite losses.
  static std::optional<double> steepest(const std::vector<double>& learning_rates, const std::vector<double>& losses);

 private:
  void search();
  double learning_rate(int64_t step) const;
  void write() const;

  LearningRateFinderConfig config_;
  std::vector<double> learning_rates_, losses_, raw_;
  std::optional<double> suggestion_;
  bool searched_ = false, reports_ = false;
};

}  // namespace levin
