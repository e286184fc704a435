#include "levin/loggers/csv_logger.h"

#include <fmt/format.h>

#include <string_view>

#include "levin/core/number_text.h"
#include "training_log.h"

namespace levin {
namespace {

constexpr std::string_view header = "step,epoch,name,value\n";

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
  const auto moved = [](std::string_view line, const std::string& time) { return fmt::format("{},{}", time, line); };
  log_ =
      std::make_unique<detail::TrainingLog>((config.save_dir.empty() ? folder : config.save_dir) / name, std::string(header),
                                            detail::TrainingLog::Abandoned{fmt::format("moved,{}", header), moved}, config.flush_interval);
}

CSVLogger::~CSVLogger() = default;

void CSVLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  std::string lines;
  for (const auto& [name, value] : values) lines += fmt::format("{},{},{},{}\n", step, epoch, cell(prefix_ + name), value_text(value));
  log_->write(lines);
}

StateDict CSVLogger::state_dict() { return log_->state_dict(); }

void CSVLogger::load_state_dict(const StateDict& state) { log_->load_state_dict(state); }

void CSVLogger::begin_training(int64_t) { log_->begin_training(); }

void CSVLogger::finalize() { log_->flush(); }

}  // namespace levin
