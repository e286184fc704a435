#include "timings_recorder.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>

#include "../trainer/queued_logger.h"
#include "levin/callbacks/learning_rate_monitor.h"
#include "levin/comm/wait_timer.h"
#include "levin/core/error.h"
#include "levin/loggers/csv_logger.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {
namespace {

using levin::detail::PartTimer, levin::detail::TimePart;

double seconds_of(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

double process_bytes() {
  std::ifstream in("/proc/self/statm");
  double all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// What an attempt that was killed while it wrote left behind the last line.
void cut_partial_line(const std::filesystem::path& file) {
  constexpr std::streamoff most = 4096;
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  const std::streamoff size = in ? std::streamoff(in.tellg()) : 0, begin = std::max<std::streamoff>(0, size - most);
  if (size <= 0) return;
  std::string end(static_cast<size_t>(size - begin), '\0');
  in.seekg(begin);
  in.read(end.data(), size - begin);
  const auto newline = end.rfind('\n');
  if (!in || newline + 1 == end.size() || newline == std::string::npos) return;
  std::error_code unseen;
  std::filesystem::resize_file(file, static_cast<uintmax_t>(begin) + newline + 1, unseen);
}

double milliseconds_since_1970() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::round(std::chrono::duration<double, std::milli>(now).count());
}

}  // namespace

TimingsRecorder::TimingsRecorder(std::filesystem::path file) : file_(std::move(file)) {}
TimingsRecorder::~TimingsRecorder() = default;

TimingsRecorder::Totals TimingsRecorder::totals() {
  return {.now = std::chrono::steady_clock::now(),
          .waited = WaitTimer::waited(),
          .step = PartTimer::spent(TimePart::step),
          .data = PartTimer::spent(TimePart::data),
          .validation = PartTimer::spent(TimePart::validation),
          .checkpoint = PartTimer::spent(TimePart::checkpoint),
          .steps = trainer().global_step(),
          .samples = trainer().report().samples};
}

// Not before: an attempt that trains nothing leaves the run's files as they are.
void TimingsRecorder::on_train_start() {
  log_.reset();
  learning_rates_.clear();
  if (trainer().session().rank() != 0) return;
  const auto& log = trainer().session().runtime().log();
  try {
    cut_partial_line(file_);
    log_ = std::make_unique<QueuedLogger>(std::make_shared<CSVLogger>(file_), log);
  } catch (const IoError& error) {
    log.warning("{}; the training continues without a record of its times", error.what());
  }
  before_ = totals();
}

void TimingsRecorder::on_train_batch_start(const Batch&, int64_t) {
  if (!log_ || !learning_rates_.empty() || (trainer().global_step() + 1) % *trainer().config().log_every_n_steps != 0) return;
  const auto optimizers = trainer().session().optimizer_values();
  const auto names = LearningRateMonitor::names(optimizers);
  for (size_t i = 0; i < optimizers.size(); i++) {
    const auto& groups = optimizers[i].groups;
    for (size_t group = 0; group < groups.size(); group++)
      learning_rates_.emplace_back(names[i] + (groups.size() > 1 ? fmt::format("/pg{}", group + 1) : ""), groups[group].lr);
  }
}

void TimingsRecorder::on_train_batch_end(const Tensor&, const Batch&, int64_t) {
  const int64_t step = trainer().global_step();
  if (log_ && step > before_.steps && step % *trainer().config().log_every_n_steps == 0) record();
}

// Not on_train_end: the last checkpoint follows it.
void TimingsRecorder::on_fit_end() {
  if (!log_) return;
  record();
  log_->finalize();
  log_.reset();
}

// What a part waited for other ranks is the part's, but for steps.
void TimingsRecorder::record() {
  const auto now = totals();
  const auto since = [&](Part Totals::*part) {
    return Part{(now.*part).time - (before_.*part).time, (now.*part).waited - (before_.*part).waited};
  };
  const auto step = since(&Totals::step), data = since(&Totals::data), validation = since(&Totals::validation),
             checkpoint = since(&Totals::checkpoint);
  const auto communication = now.waited - before_.waited - data.waited - validation.waited - checkpoint.waited;
  const auto compute = step.time - step.waited, total = now.now - before_.now;
  const auto other = total - compute - communication - data.time - validation.time - checkpoint.time;
  NamedValues values{{"time", milliseconds_since_1970() / 1000},
                     {"time/total", seconds_of(total)},
                     {"time/compute", seconds_of(compute)},
                     {"time/communication", seconds_of(communication)},
                     {"time/data", seconds_of(data.time)},
                     {"time/validation", seconds_of(validation.time)},
                     {"time/checkpoint", seconds_of(checkpoint.time)},
                     {"time/other", seconds_of(std::max(other, std::chrono::nanoseconds(0)))},
                     {"steps", static_cast<double>(now.steps - before_.steps)},
                     {"samples", static_cast<double>(now.samples - before_.samples)},
                     {"memory/process_bytes", process_bytes()}};
  for (auto& rate : std::exchange(learning_rates_, {})) values.push_back(std::move(rate));
  log_->log_metrics(values, trainer().current_epoch(), std::max<int64_t>(0, now.steps - 1));
  before_ = now;
}

}  // namespace levin::cli
