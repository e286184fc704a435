#include "levin/loggers/csv_logger.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <string_view>
#include <utility>

#include "levin/core/number_text.h"
#include "log_file.h"

namespace levin {
namespace {

constexpr std::string_view header = "step,epoch,name,value\n";

std::string time_now() {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                     parts.tm_min, parts.tm_sec);
}

// The lines are on disk here before they leave metrics.csv: a process killed in between leaves them in both.
void keep_abandoned(const std::filesystem::path& metrics, const std::string& lines, Seconds flush_interval) {
  auto path = metrics;
  path.replace_extension(".abandoned" + metrics.extension().string());
  detail::LogFile file(path, "a", flush_interval);
  if (file.empty()) file.write(fmt::format("moved,{}", header));
  const auto time = time_now();
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size() - 1) + 1;
    file.write(time + "," + lines.substr(begin, end - begin));
    begin = end;
  }
  if (!lines.ends_with('\n')) file.write("\n");  // the process was killed while it wrote the line
  file.sync();
}

// A name with a comma or a quote is quoted, as RFC 4180 has it.
std::string cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + '"';
}

}  // namespace

CSVLogger::CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder) : CSVLogger(config, folder, "metrics.csv") {}

CSVLogger::CSVLogger(const std::filesystem::path& file) : CSVLogger({}, file.parent_path(), file.filename()) {}

CSVLogger::CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder, const std::filesystem::path& name)
    : prefix_(config.prefix.empty() ? "" : config.prefix + "-"), flush_interval_(config.flush_interval) {
  check_config(config);
  file_ = std::make_unique<detail::LogFile>((config.save_dir.empty() ? folder : config.save_dir) / name, "a", config.flush_interval);
  if (file_->empty()) file_->write(header);
  opened_bytes_ = file_->size();
}

CSVLogger::~CSVLogger() = default;

void CSVLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  std::string lines;
  for (const auto& [name, value] : values) lines += fmt::format("{},{},{},{}\n", step, epoch, cell(prefix_ + name), value_text(value));
  file_->write(lines);
}

StateDict CSVLogger::state_dict() {
  StateDict state;
  state.set("bytes", file_->size());
  return state;
}

void CSVLogger::load_state_dict(const StateDict& state) { past_bytes_ = state.get<int64_t>("bytes"); }

// In the first training of this process the lines since the logger was made are its own.
void CSVLogger::begin_training(int64_t) {
  const bool first = !std::exchange(begun_, true);
  if (!first && !past_bytes_) return;
  if (!first) opened_bytes_ = file_->size();
  const int64_t past = std::max<int64_t>(past_bytes_.value_or(0), static_cast<int64_t>(header.size()));
  past_bytes_.reset();
  if (past >= opened_bytes_) return;
  keep_abandoned(file_->path(), file_->read(past, opened_bytes_), flush_interval_);
  const auto own = file_->read(opened_bytes_, file_->size());
  file_->cut(past);
  file_->write(own);
  file_->flush();
  opened_bytes_ = past;
}

void CSVLogger::finalize() { file_->flush(); }

}  // namespace levin
