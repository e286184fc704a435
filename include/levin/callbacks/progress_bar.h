#pragma once
#include <chrono>
#include <functional>
#include <optional>
#include <string>

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
/// stays short.
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

 private:
  void show_if_due(const char* stage);
  void show(const char* stage);

  bool bar_;
  Write write_;
  std::chrono::steady_clock::duration interval_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace levin
