#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/session/averaged_parameters.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's argument of WeightAveraging.
struct WeightAveragingConfig {
  bool use_buffers = true;
};
LEVIN_CONFIG(WeightAveragingConfig, (use_buffers, "average floating-point buffers, too; false: take those of the last update"))
LEVIN_CHOICE(WeightAveragingConfig, "weight_averaging")

/// Averages the parameters after steps and epochs of a training, by default equally after every step, and validates, saves and leaves the
/// averaged model. A checkpoint has the averages as the model, so that tests and predictions use them, and the trained parameters as
/// current_model/NAME; a training that resumes takes both back. Until the first update the trained parameters are validated and saved.
/// Averages have the dtype of the parameters, and lie on the ranks that update them. Under every strategy. A class of a program may
/// override should_update and average. ConfigError for two callbacks that average.
class WeightAveraging : public Callback {
 public:
  using Config = WeightAveragingConfig;
  explicit WeightAveraging(const WeightAveragingConfig& config = {});

  void setup(Stage stage) override;
  void teardown(Stage stage) override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end() override;
  void on_validation_epoch_start() override;
  void on_validation_epoch_end() override;
  void on_train_end() override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  /// Updates of the averages so far; 0 outside of a training.
  int64_t n_averaged() const noexcept { return averages_ ? averages_->updates() : 0; }

 protected:
  /// Whether the average is updated after the step, or the epoch, of this number, which counts from 0; the other is null. The same on all
  /// ranks.
  virtual bool should_update(std::optional<int64_t> step_idx, std::optional<int64_t> /*epoch_idx*/) const { return step_idx.has_value(); }
  /// Changes an average of `n_averaged` values, one at least, by the current one. By default it becomes the mean of n_averaged + 1.
  virtual void average(Tensor& average, const Tensor& current, int64_t n_averaged) const;

  /// Whether the run that ends leaves the averaged model. The same on all ranks.
  virtual bool ends_as_average() const { return true; }
  /// Null outside of a training.
  AveragedParameters* averages() noexcept { return averages_.get(); }
  const AveragedParameters* averages() const noexcept { return averages_.get(); }
  void update();

 private:
  bool use_buffers_;
  std::shared_ptr<AveragedParameters> averages_;
  int64_t latest_update_step_ = 0, latest_update_epoch_ = -1;
};

}  // namespace levin
