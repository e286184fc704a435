#pragma once
#include <cstdint>
#include <optional>

#include "levin/callbacks/weight_averaging.h"
#include "levin/core/limit.h"

namespace levin {

/// How a learning rate goes over to another.
enum class AnnealingStrategy { cos, linear };
LEVIN_ENUM(AnnealingStrategy, (cos, "cos"), (linear, "linear"))

/// Lightning's arguments of StochasticWeightAveraging.
struct StochasticWeightAveragingConfig {
  double swa_lrs = 0.01;
  Limit swa_epoch_start = Limit::fraction(0.8);
  int64_t annealing_epochs = 10;
  AnnealingStrategy annealing_strategy = AnnealingStrategy::cos;

  void validate() const;
};
LEVIN_CONFIG(StochasticWeightAveragingConfig, (swa_lrs, "learning rate of the averaged epochs, of all parameters", greater_than(0)),
             (swa_epoch_start, "the epoch, from 1 on, at whose beginning averaging starts, or its place in max_epochs"),
             (annealing_epochs, "epochs in which the learning rate becomes swa_lrs", at_least(0)), (annealing_strategy, "how it does"))
LEVIN_CHOICE(StochasticWeightAveragingConfig, "stochastic_weight_averaging", "swa")

/// Stochastic weight averaging (P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018): from an
/// epoch on the learning rate goes over to swa_lrs, as torch's SWALR has it, in place of the optimizer's schedule, and the parameters at
/// the beginnings of epochs are averaged equally. The end of the last epoch leaves the averaged model, and saves it; the statistics of
/// batch normalization are computed anew in a pass over the training data. Until then the trained model is validated and saved, and a
/// checkpoint has the averages as average_model/NAME. A training that max_steps or a stop ends before its last epoch's end leaves the
/// trained model. Without max_epochs the training's end leaves the averaged model, and saves it unless max_steps cut the epoch short: such
/// a checkpoint continues the epoch with the trained model. A run that was complete before leaves the model of its checkpoint. Under every
/// strategy. ConfigError unless there is exactly one optimizer.
class StochasticWeightAveraging : public WeightAveraging {
 public:
  using Config = StochasticWeightAveragingConfig;
  explicit StochasticWeightAveraging(const StochasticWeightAveragingConfig& config = {});

  void setup(Stage stage) override;
  void teardown(Stage stage) override;
  void on_fit_start() override;
  void on_train_start() override;
  void on_train_epoch_start() override;
  void on_train_batch_end(const Tensor&, const Batch&, int64_t) override {}
  void on_train_epoch_end() override;
  bool monitors() const override { return true; }  // after the epoch's values
  void on_validation_epoch_start() override {}
  void on_validation_epoch_end() override {}
  void on_train_end() override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  /// The part of swa_lrs in the learning rate, `epochs` after the start; the rest is the rate at the start.
  static double annealed(AnnealingStrategy strategy, int64_t epochs, int64_t annealing_epochs);

 protected:
  bool ends_as_average() const override;

 private:
  void finish();
  int64_t start_epoch() const;
  void set_learning_rate(int64_t epoch);

  StochasticWeightAveragingConfig config_;
  double rate_at_start_ = 1;  // over the optimizer's own
  int64_t averaged_epoch_ = -1;
  std::optional<bool> finished_;  // the averages are the model; null until the training starts
};

}  // namespace levin
