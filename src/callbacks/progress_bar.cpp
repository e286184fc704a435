#include "levin/callbacks/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "../core/status_line.h"
#include "levin/core/number_text.h"
#include "levin/trainer/trainer.h"

namespace levin {
namespace {

bool is_terminal(int file) {
  const char* kind = std::getenv("TERM");
  return isatty(file) == 1 && kind && *kind && std::string_view(kind) != "dumb";  // which knows no cursor
}

std::string time_text(double seconds_of_all) {
  const auto all = static_cast<int64_t>(std::lround(std::min(seconds_of_all, 1e9)));
  const int64_t hours = all / 3600, minutes = all / 60 % 60, seconds = all % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, seconds) : fmt::format("{}:{:02}", minutes, seconds);
}

std::string rate_text(double seconds_per_batch) {
  if (seconds_per_batch > 1) return fmt::format("{:.3g} s/batch", seconds_per_batch);
  return seconds_per_batch > 0.01 ? fmt::format("{:.3g} batches/s", 1 / seconds_per_batch)
                                  : fmt::format("{:.0f} batches/s", 1 / seconds_per_batch);
}

std::string values_text(const NamedValues& values) {
  std::string text;
  for (const auto& [name, value] : values) text += fmt::format(" {} {}", name, value_text(value, 4));
  return text;
}

}  // namespace

ProgressBar::ProgressBar(const ProgressBarConfig& config, Write write)
    : bar_(config.style == ProgressStyle::bar || (config.style == ProgressStyle::automatic && is_terminal(STDERR_FILENO))),
      write_(std::move(write)),
      last_(Clock::now()) {
  check_config(config);
  const double seconds = config.refresh_interval ? config.refresh_interval->value : bar_ ? 0.1 : 5;
  interval_ = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

ProgressBar::~ProgressBar() { finish(); }

std::string ProgressBar::pace_text(double seconds_per_batch, int64_t batches_left) {
  return fmt::format("{}, {} left", rate_text(seconds_per_batch), time_text(seconds_per_batch * static_cast<double>(batches_left)));
}

bool ProgressBar::shows() { return trainer().session().rank() == 0; }

detail::StatusLine& ProgressBar::status_line() {
  if (!status_line_ && !write_) status_line_ = trainer().session().runtime().log().status_line();
  if (!status_line_ && write_)
    status_line_ = std::make_shared<detail::StatusLine>(write_, [] { return std::numeric_limits<size_t>::max(); });
  if (!status_line_) status_line_ = std::make_shared<detail::StatusLine>(STDERR_FILENO);  // the log is silent
  return *status_line_;
}

void ProgressBar::begin(Pass& pass, std::string_view name) {
  if (pass.name != name) pass.seconds_per_batch = 0;
  pass.name = name;
  pass.done = pass.total = 0;
  pass.begun = Clock::now();
  pass.values.clear();
  pass.open = true;
  newest_ = nullptr;
}

// A training that resumes inside an epoch does not start one.
void ProgressBar::on_train_start() {
  training_ = evaluation_ = {};
  validation_values_.clear();
  begin(training_, "training");
}

void ProgressBar::on_train_batch_end(const Tensor&, const Batch&, int64_t batch_idx) {
  if (!training_.open) begin(training_, "training");
  note_batch(training_, batch_idx);
}

// The time of a validation inside an epoch is not the training's.
void ProgressBar::note_batch(Pass& pass, int64_t batch_idx) {
  if (!shows()) return;
  constexpr double weight_of_newest = 0.1;
  const auto now = Clock::now();
  if (newest_ == &pass && batch_idx == pass.done) {
    const double seconds = std::chrono::duration<double>(now - batch_end_).count();
    pass.seconds_per_batch += (pass.seconds_per_batch > 0 ? weight_of_newest : 1) * (seconds - pass.seconds_per_batch);
  }
  pass.done = batch_idx + 1;
  pass.total = trainer().batch_progress().total;
  newest_ = &pass;
  batch_end_ = now;
  if (now - last_ >= interval_) show(pass);
}

void ProgressBar::on_train_epoch_end() {
  if (!shows()) return;
  const auto progress = trainer().batch_progress();  // the length of a stream is known now
  training_.done = progress.done, training_.total = progress.total;
  show(training_);
  finish();
}

void ProgressBar::on_train_end() {
  if (!shows()) return;
  if (bar_ && training_.open && training_.done > 0) show(training_);  // stopped inside an epoch
  finish();
}

void ProgressBar::end_evaluation() {
  if (!shows()) return;
  evaluation_.open = false;
  if (training_run_) {
    if (!sanity_check_) validation_values_ = trainer().progress_bar_values();
    if (bar_ && status_line_)
      status_line_->show(training_.open && training_.done > 0 ? std::vector<std::string>{bar_of(training_)} : std::vector<std::string>());
    return;
  }
  evaluation_.total = evaluation_.done;
  show(evaluation_);
  finish();
}

void ProgressBar::finish() {
  training_.open = evaluation_.open = false;
  if (status_line_) status_line_->finish();
}

std::string ProgressBar::text_of(const Pass& pass) const {
  std::string text = fmt::format("{} {}/{}", pass.name, pass.done, pass.total > 0 ? std::to_string(pass.total) : "?");
  if (pass.seconds_per_batch > 0 && pass.total == 0)
    text += fmt::format(" {}, {} so far", rate_text(pass.seconds_per_batch),
                        time_text(std::chrono::duration<double>(Clock::now() - pass.begun).count()));
  else if (pass.seconds_per_batch > 0 && pass.done < pass.total)
    text += " " + pace_text(pass.seconds_per_batch, pass.total - pass.done);
  return text;
}

// Of the training also those of its last validation; but a name is there once.
std::string ProgressBar::shown_values(const Pass& pass) const {
  auto values = pass.values;
  if (&pass == &training_)
    for (const auto& [name, value] : validation_values_)
      if (!find_value(values, name)) values.emplace_back(name, value);
  return values_text(values);
}

std::string ProgressBar::bar_of(const Pass& pass) const {
  const bool trains = &pass == &training_;
  auto text = text_of(pass);
  if (trains) text = fmt::format("epoch {} {} step {}", trainer().current_epoch(), text, trainer().global_step());
  text += shown_values(pass);
  const auto columns = status_line_->columns();
  const int64_t width = columns >= 100 ? 24 : columns >= 60 ? 12 : 0;  // numbers matter more
  if (width == 0 || pass.total == 0) return text;
  const auto filled = static_cast<size_t>(width * std::min(pass.done, pass.total) / pass.total);
  return "[" + std::string(filled, '#') + std::string(static_cast<size_t>(width) - filled, '.') + "] " + text;
}

void ProgressBar::show(Pass& pass) {
  last_ = Clock::now();
  if (auto values = trainer().progress_bar_values(); !values.empty()) pass.values = std::move(values);  // none after the last epoch
  auto& line = status_line();
  if (!bar_) {
    const bool in_training = &pass == &training_ || training_run_;
    const auto text =
        in_training ? fmt::format("epoch {} {} step {}", trainer().current_epoch(), text_of(pass), trainer().global_step()) : text_of(pass);
    return line.print(text + shown_values(pass) + "\n");
  }
  if (&pass == &evaluation_ && training_.open && training_.done > 0) return line.show({bar_of(training_), "  " + bar_of(evaluation_)});
  line.show({bar_of(pass)});
}

}  // namespace levin
