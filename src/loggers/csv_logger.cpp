#include "levin/loggers/csv_logger.h"

#include <fmt/format.h>

#include "levin/core/number_text.h"
#include "log_file.h"

namespace levin {
namespace {

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
    : prefix_(config.prefix.empty() ? "" : config.prefix + "-") {
  check_config(config);
  file_ = std::make_unique<detail::LogFile>((config.save_dir.empty() ? folder : config.save_dir) / name, "a", config.flush_interval);
  if (file_->empty()) file_->write("step,epoch,name,value\n");
  file_->flush();
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

void CSVLogger::load_state_dict(const StateDict& state) { file_->cut(state.get<int64_t>("bytes")); }

void CSVLogger::finalize() { file_->flush(); }

}  // namespace levin
