#pragma once
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <vector>

#include "levin/core/config.h"
#include "levin/core/monitor_mode.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's arguments of SpikeDetection, and those of the rollback.
struct SpikeDetectionConfig {
  MonitorMode mode = MonitorMode::min;
  int64_t window = 10;
  int64_t warmup = 1;
  std::optional<double> atol = {};
  std::optional<double> rtol = 2.0;
  bool finite_only = true;
  bool rollback = true;
  int64_t max_rollbacks = 3;
};
LEVIN_CONFIG(SpikeDetectionConfig, (mode, "which losses are better"), (window, "steps of the running mean", at_least(1)),
             (warmup, "steps before the first that may be a spike", at_least(1)),
             (atol, "a spike differs from the running mean by this at least; null: by any", at_least(0)),
             (rtol, "and by this part of the running mean; null: by any", at_least(0)),
             (finite_only, "a loss that is NaN or infinite is a spike"),
             (rollback, "go back to the last good checkpoint; false: end with an error"),
             (max_rollbacks, "then end with an error", at_least(0)))
LEVIN_CHOICE(SpikeDetectionConfig, "spike_detection")

/// Watches the loss of each step, the weighted mean over all ranks and micro-batches, for a spike: it is worse than the step before and
/// differs from the running mean by atol and rtol. Then parameters and optimizers go back to the newest checkpoint that was made two steps
/// before it or earlier, since the step before may have caused it, and the training continues with the data that follow: the batches in
/// between are not repeated, and steps are counted on. An Error on all ranks without such a checkpoint, after max_rollbacks, or
/// without rollback. Each step costs an all-reduce of two numbers, and waits for the device. For a module that returns a loss.
class SpikeDetection : public Callback {
 public:
  using Config = SpikeDetectionConfig;
  explicit SpikeDetection(const SpikeDetectionConfig& config = {});

  void setup(Stage stage) override;
  void on_train_start() override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  int64_t rollbacks() const noexcept { return rollbacks_; }

 private:
  bool is_spike(double loss) const;
  double running_mean() const;
  void roll_back(double loss);

  SpikeDetectionConfig config_;
  std::deque<double> window_;
  double last_ = 0;
  int64_t steps_ = 0, rollbacks_ = 0, last_step_ = -1;
  double loss_sum_ = 0, weight_ = 0;             // of the step under way, on this rank
  std::vector<std::filesystem::path> suspects_;  // checkpoints made just before a spike
};

}  // namespace levin
