#include "levin/callbacks/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "levin/core/number_text.h"
#include "levin/trainer/trainer.h"

namespace levin {

ProgressBar::ProgressBar(const ProgressBarConfig& config, Write write)
    : bar_(config.style == ProgressStyle::bar || (config.style == ProgressStyle::automatic && isatty(STDERR_FILENO) == 1)),
      write_(write ? std::move(write) : [](const std::string& text) { std::fputs(text.c_str(), stderr); }),
      last_(std::chrono::steady_clock::now()) {
  check_config(config);
  const double seconds = config.refresh_interval ? config.refresh_interval->value : bar_ ? 0.1 : 5;
  interval_ = std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds));
}

void ProgressBar::on_train_batch_end(const Tensor&, const Batch&, int64_t) { show_if_due("training"); }

void ProgressBar::on_train_epoch_end() {
  if (trainer().session().rank() == 0) show("training");
  if (bar_ && trainer().session().rank() == 0) write_("\n");
}

std::string ProgressBar::pace_text(double seconds_per_batch, int64_t batches_left) {
  const auto left = static_cast<int64_t>(std::lround(std::min(seconds_per_batch * static_cast<double>(batches_left), 1e9)));
  const int64_t hours = left / 3600, minutes = left / 60 % 60, seconds = left % 60;
  const auto pace = seconds_per_batch > 1      ? fmt::format("{:.3g} s/batch", seconds_per_batch)
                    : seconds_per_batch > 0.01 ? fmt::format("{:.3g} batches/s", 1 / seconds_per_batch)
                                               : fmt::format("{:.0f} batches/s", 1 / seconds_per_batch);
  return hours > 0 ? fmt::format("{}, {}:{:02}:{:02} left", pace, hours, minutes, seconds)
                   : fmt::format("{}, {}:{:02} left", pace, minutes, seconds);
}

// The time of a validation inside an epoch is not the training's.
void ProgressBar::note_batch(const char* stage) {
  constexpr double weight_of_newest = 0.1;
  const auto now = Clock::now();
  auto& pace = paces_[stage];
  const int64_t done = trainer().batch_progress().done;
  if (stage_ == stage && done == pace.done + 1) {
    const double seconds = std::chrono::duration<double>(now - batch_end_).count();
    pace.seconds_per_batch += (pace.seconds_per_batch > 0 ? weight_of_newest : 1) * (seconds - pace.seconds_per_batch);
  }
  pace.done = done;
  stage_ = stage;
  batch_end_ = now;
}

void ProgressBar::show_if_due(const char* stage) {
  if (trainer().session().rank() != 0) return;
  note_batch(stage);
  if (std::chrono::steady_clock::now() - last_ >= interval_) show(stage);
}

void ProgressBar::show(const char* stage) {
  last_ = std::chrono::steady_clock::now();
  const auto [done, total] = trainer().batch_progress();
  const double seconds_per_batch = paces_[stage].seconds_per_batch;
  const auto pace = seconds_per_batch > 0 && done < total ? " " + pace_text(seconds_per_batch, total - done) : std::string();
  std::string line =
      fmt::format("epoch {} {} {}/{}{} step {}", trainer().current_epoch(), stage, done, total, pace, trainer().global_step());
  for (const auto& [name, value] : trainer().progress_bar_values()) line += fmt::format(" {} {}", name, value_text(value, 4));
  if (!bar_) return write_(line + "\n");
  constexpr int64_t width = 24;
  const auto filled = static_cast<size_t>(total > 0 ? width * done / total : 0);
  write_("\r\033[K[" + std::string(filled, '#') + std::string(width - filled, '.') + "] " + line);
}

}  // namespace levin
