#include "levin/callbacks/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

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

void ProgressBar::show_if_due(const char* stage) {
  if (trainer().session().rank() != 0) return;
  if (std::chrono::steady_clock::now() - last_ >= interval_) show(stage);
}

void ProgressBar::show(const char* stage) {
  last_ = std::chrono::steady_clock::now();
  const auto [done, total] = trainer().batch_progress();
  std::string line = fmt::format("epoch {} {} {}/{} step {}", trainer().current_epoch(), stage, done, total, trainer().global_step());
  for (const auto& [name, value] : trainer().progress_bar_values()) line += fmt::format(" {} {}", name, value_text(value, 4));
  if (!bar_) return write_(line + "\n");
  constexpr int64_t width = 24;
  const auto filled = static_cast<size_t>(total > 0 ? width * done / total : 0);
  write_("\r\033[K[" + std::string(filled, '#') + std::string(width - filled, '.') + "] " + line);
}

}  // namespace levin
