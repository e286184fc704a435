#include "training_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

std::string time_now() {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                     parts.tm_min, parts.tm_sec);
}

}  // namespace

TrainingLog::TrainingLog(std::filesystem::path path, std::string header, Abandoned abandoned, Seconds flush_interval)
    : header_(std::move(header)),
      abandoned_(std::move(abandoned)),
      flush_interval_(flush_interval),
      file_(std::move(path), LogFile::Mode::append, flush_interval) {
  if (file_.empty()) file_.write(header_);
  file_.flush();
  opened_bytes_ = file_.size();
}

// The length holds for what the file will have: a disk that is full now must not fail the checkpoint.
StateDict TrainingLog::state_dict() {
  StateDict state;
  try {
    file_.flush();
  } catch (const IoError&) {  // tried again, and reported, at the next flush
  }
  state.set("bytes", file_.size());
  return state;
}

void TrainingLog::load_state_dict(const StateDict& state) {
  if (state.contains("bytes")) past_bytes_ = state.get<int64_t>("bytes");
}

// In the first training of this process the lines since the log was opened are its own.
void TrainingLog::begin_training() {
  const bool first = !std::exchange(begun_, true);
  if (!first && !past_bytes_) return;
  if (!first) opened_bytes_ = file_.size();
  const int64_t past = std::max<int64_t>(past_bytes_.value_or(0), static_cast<int64_t>(header_.size()));
  past_bytes_.reset();
  if (past >= opened_bytes_) return;
  keep_abandoned(file_.read(past, opened_bytes_));
  const auto own = file_.read(opened_bytes_, file_.size());
  file_.cut(past);
  file_.write(own);
  file_.flush();
  opened_bytes_ = past;
}

// The lines are on disk here before they leave the file: a process killed in between leaves them in both.
void TrainingLog::keep_abandoned(const std::string& lines) {
  auto path = file_.path();
  path.replace_extension(".abandoned" + path.extension().string());
  LogFile file(path, LogFile::Mode::append, flush_interval_);
  if (file.empty()) file.write(abandoned_.header);
  const auto time = time_now();
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());  // a killed process may leave a line without its end
    file.write(abandoned_.line(std::string_view(lines).substr(begin, end - begin), time) + "\n");
    begin = end + 1;
  }
  file.sync();
}

}  // namespace levin::detail
