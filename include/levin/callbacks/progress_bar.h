#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

/// A bar that is redrawn, plain lines, or a bar where standard error is a terminal.
enum class ProgressStyle { automatic, bar, lines };
LEVIN_ENUM(ProgressStyle, (automatic, "auto"), (bar, "bar"), (lines, "lines"))

struct ProgressBarConfig {
  ProgressStyle style = ProgressStyle::automatic;
  std::optional<Seconds> refresh_interval = {};
};
LEVIN_CONFIG(ProgressBarConfig, (style, "auto: a bar on a terminal, else lines"),
             (refresh_interval, "time from one drawing to the next at least; null: 0.1 s for a bar, 5 s for lines", at_least(Seconds{0})))
LEVIN_CHOICE(ProgressBarConfig, "progress_bar", "TQDMProgressBar", "RichProgressBar")

/// How far the training is, on rank 0: a bar that is redrawn on a terminal, else a plain line every few seconds, so that a job's log
/// stays short. Both have the pace of the newest batches and the time left of the epoch, or of the validation inside it.
class ProgressBar : public Callback {
 public:
  using Config = ProgressBarConfig;
  using Write = std::function<void(const std::string&)>;
  /// `write` gets text as it is to appear; without it, standard error does.
  explicit ProgressBar(const ProgressBarConfig& config = {}, Write write = {});

  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_train_epoch_end() override;
  void on_validation_batch_end(const Batch& batch, int64_t batch_idx) override { show_if_due("validating"), (void)batch, (void)batch_idx; }
  void on_test_batch_end(const Batch& batch, int64_t batch_idx) override { show_if_due("testing"), (void)batch, (void)batch_idx; }
  void on_predict_batch_end(const Tensor&, const Batch&, int64_t) override { show_if_due("predicting"); }

  /// "4 batches/s, 0:02 left", or where a batch takes longer "2 s/batch, 1:01:00 left".
  static std::string pace_text(double seconds_per_batch, int64_t batches_left);

 private:
  using Clock = std::chrono::steady_clock;
  /// Of the batches of a stage, the newest counting most; 0: not known yet.
  struct Pace {
    int64_t done = 0;
    double seconds_per_batch = 0;
  };
  void note_batch(const char* stage);
  void show_if_due(const char* stage);
  void show(const char* stage);

  bool bar_;
  Write write_;
  Clock::duration interval_;
  Clock::time_point last_, batch_end_;
  std::map<std::string_view, Pace> paces_;  // by stage
  std::string_view stage_;                  // of the newest batch
};

}  // namespace levin
