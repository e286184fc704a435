#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "levin/core/config.h"
#include "levin/core/named_values.h"
#include "levin/trainer/callback.h"

namespace levin {

namespace detail {
class StatusLine;
}

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

/// How far the run is, on rank 0. On a terminal a bar that is redrawn, cut to its width, with a second one below it for a validation inside
/// the training; the last state of an epoch stays, as does that of a validation, test or prediction by itself, and lines of the run's log
/// appear above. Else a plain line every few seconds, so that a job's log stays short. Both have the pace of the newest batches, the time
/// left of the pass (where its length is unknown, the time so far), and what was logged with prog_bar; after a validation also that of the
/// validation.
class ProgressBar : public Callback {
 public:
  using Config = ProgressBarConfig;
  using Write = std::function<void(const std::string&)>;
  /// `write` gets text as it is to appear, uncut; without it, standard error does.
  explicit ProgressBar(const ProgressBarConfig& config = {}, Write write = {});
  ~ProgressBar() override;

  void setup(Stage stage) override { training_run_ = stage == Stage::fit; }
  void teardown(Stage) override { finish(); }
  void on_train_start() override;
  void on_train_end() override;
  void on_train_epoch_start() override { begin(training_, "training"); }
  void on_train_epoch_end() override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_sanity_check_start() override { sanity_check_ = true; }
  void on_sanity_check_end() override { sanity_check_ = false; }
  void on_validation_start() override { begin(evaluation_, sanity_check_ ? "sanity check" : "validating"); }
  void on_validation_batch_end(const Batch&, int64_t batch_idx) override { note_batch(evaluation_, batch_idx); }
  void on_validation_end() override { end_evaluation(); }
  void on_test_start() override { begin(evaluation_, "testing"); }
  void on_test_batch_end(const Batch&, int64_t batch_idx) override { note_batch(evaluation_, batch_idx); }
  void on_test_end() override { end_evaluation(); }
  void on_predict_start() override { begin(evaluation_, "predicting"); }
  void on_predict_batch_end(const Tensor&, const Batch&, int64_t batch_idx) override { note_batch(evaluation_, batch_idx); }
  void on_predict_end() override { end_evaluation(); }
  void on_exception(const std::string&) override { finish(); }

  /// "4 batches/s, 0:02 left", or where a batch takes longer "2 s/batch, 1:01:00 left".
  static std::string pace_text(double seconds_per_batch, int64_t batches_left);

 private:
  using Clock = std::chrono::steady_clock;
  /// A pass over data under way.
  struct Pass {
    std::string_view name;
    int64_t done = 0, total = 0;   // total 0: unknown
    double seconds_per_batch = 0;  // the newest counting most; 0: unknown
    Clock::time_point begun;
    NamedValues values;  // as they were last shown
    bool open = false;   // begun, and its last state not shown yet
  };
  void begin(Pass& pass, std::string_view name);
  void note_batch(Pass& pass, int64_t batch_idx);
  void end_evaluation();
  /// Shows the newest pass, and on a terminal the training around it.
  void show(Pass& pass);
  /// What is shown stays.
  void finish();
  std::string text_of(const Pass& pass) const;
  std::string shown_values(const Pass& pass) const;
  std::string bar_of(const Pass& pass) const;
  detail::StatusLine& status_line();
  bool shows();

  bool bar_;
  Write write_;
  std::shared_ptr<detail::StatusLine> status_line_;  // null: not used yet
  Clock::duration interval_;
  Clock::time_point last_, batch_end_;
  Pass training_, evaluation_;
  NamedValues validation_values_;
  const Pass* newest_ = nullptr;  // which batch_end_ belongs to
  bool training_run_ = false, sanity_check_ = false;
};

}  // namespace levin
