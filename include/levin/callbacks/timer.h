#pragma once
#include <array>
#include <chrono>
#include <optional>

#include "levin/core/config.h"
#include "levin/optim/lr_schedules.h"
#include "levin/trainer/callback.h"

namespace levin {

/// Lightning's arguments of Timer.
struct TimerConfig {
  std::optional<Seconds> duration = {};
  Interval interval = Interval::step;
  bool verbose = true;
};
LEVIN_CONFIG(TimerConfig, (duration, "stop after this training time; null: only measure", greater_than(Seconds{0})),
             (interval, "stop after a step, or at the end of an epoch"), (verbose, "report when the time limit is reached"))
LEVIN_CHOICE(TimerConfig, "timer")

/// Measures how long training, validation, test and prediction take, and stops the training when its time is over. All ranks stop after
/// the same step, whichever rank's clock tells first; at the end of an epoch rank 0's clock decides. The reason is in the run's report.
class Timer : public Callback {
 public:
  using Config = TimerConfig;
  explicit Timer(TimerConfig config = {});

  /// How long the newest pass of a stage took on this rank, or has taken so far; 0 before there is one.
  Seconds time_elapsed(Stage stage = Stage::fit) const;
  /// What is left of the duration; below 0 when it is over. Nothing without a duration.
  std::optional<Seconds> time_remaining(Stage stage = Stage::fit) const;

  /// A training that resumes when its time is over stops before its first step.
  void on_train_start() override;
  std::string stop_options() const override;
  /// The training's time: one that resumes has spent it already.
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override { spent_ = state.get<double>("time_elapsed"); }
  void on_train_end() override { end(Stage::fit); }
  void on_validation_start() override { start(Stage::validate); }
  void on_validation_end() override { end(Stage::validate); }
  void on_test_start() override { start(Stage::test); }
  void on_test_end() override { end(Stage::test); }
  void on_predict_start() override { start(Stage::predict); }
  void on_predict_end() override { end(Stage::predict); }

  void on_train_batch_start(const Batch& batch, int64_t batch_idx) override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end() override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Span {
    std::optional<Clock::time_point> start = {}, end = {};
  };
  static size_t index(Stage stage) noexcept { return static_cast<size_t>(stage); }
  void start(Stage stage) { spans_[index(stage)] = {Clock::now(), {}}; }
  void end(Stage stage) { spans_[index(stage)].end = Clock::now(); }
  bool over() const { return config_.duration && time_elapsed().value >= config_.duration->value; }
  void log_stop();

  TimerConfig config_;
  std::array<Span, 4> spans_;  // of each Stage
  double spent_ = 0;           // in the training, before this start
};

}  // namespace levin
