#pragma once
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Work counts of a module's batches, for ThroughputMonitor: `class Gpt : public Module, public CountsWork`. 0: unknown.
class CountsWork {
 public:
  virtual ~CountsWork() = default;
  /// Floating-point operations of a training step on this batch, forward and backward.
  virtual double flops_per_batch(const Batch&) const { return 0; }
  /// How many it has of the items that count: tokens, say.
  virtual double items_per_batch(const Batch&) const { return 0; }
};

/// Lightning's window_size, and its Throughput's available_flops.
struct ThroughputMonitorConfig {
  int64_t window_size = 100;
  std::optional<double> available_flops = {};
};
LEVIN_CONFIG(ThroughputMonitorConfig, (window_size, "batches of a rank that a rate is taken over", at_least(1)),
             (available_flops,
              "floating-point operations a second that a rank can do; null: what a matrix product in the model's dtype reaches",
              greater_than(0)))
LEVIN_CHOICE(ThroughputMonitorConfig, "throughput_monitor")

/// Logs how fast a training is, every log_every_n_steps steps, under Lightning's names: train/time (seconds, without validations),
/// train/batches and train/samples since the start or the resume, train/batches_per_sec, train/samples_per_sec; train/items_per_sec and
/// train/flops_per_sec where the module CountsWork, and train/device/mfu, the part of available_flops that the mean rank's are. All are
/// over all ranks; train/device/… of the same names are a mean rank's. Each time costs an all-reduce of six numbers.
class ThroughputMonitor : public Callback {
 public:
  using Config = ThroughputMonitorConfig;
  explicit ThroughputMonitor(ThroughputMonitorConfig config = {});

  void on_train_start() override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_validation_start() override { pause(); }
  void on_validation_end() override { resume(); }
  void on_train_epoch_start() override { resume(); }
  void on_train_epoch_end() override { pause(); }

  /// Peak flop/s of a rank, given or measured at the first log; 0 before it, and if the module does not count its flops.
  double available_flops() const noexcept { return available_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Totals {
    double seconds = 0, batches = 0, samples = 0, items = 0, flops = 0;
  };
  void pause();
  void resume() { since_ = Clock::now(); }
  double find_available_flops();
  void log();

  ThroughputMonitorConfig config_;
  double available_ = 0;
  std::optional<Clock::time_point> since_;  // running since then
  Totals totals_;
  std::deque<Totals> window_;  // after each of the newest batches; the first is where the window begins
  int64_t logged_step_ = -1;
};

}  // namespace levin
