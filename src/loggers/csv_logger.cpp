#include "levin/loggers/csv_logger.h"

#include <fmt/format.h>

#include <string_view>

#include "levin/core/number_text.h"
#include "logger_fields.h"
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

std::unique_ptr<detail::TrainingLog> open_log(const CSVLoggerConfig& config, const std::filesystem::path& folder,
                                              const std::filesystem::path& name) {
  check_config(config);
  const auto moved = [](std::string_view line, const std::string& time) { return fmt::format("{},{}", time, line); };
  return std::make_unique<detail::TrainingLog>(detail::save_folder(config.save_dir, folder) / name, std::string(header),
                                               detail::TrainingLog::Abandoned{fmt::format("moved,{}", header), moved},
                                               config.flush_interval);
}

}  // namespace

CSVLogger::CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder) : CSVLogger(config, folder, "metrics.csv") {}

CSVLogger::CSVLogger(const std::filesystem::path& file) : CSVLogger({}, file.parent_path(), file.filename()) {}

CSVLogger::CSVLogger(const CSVLoggerConfig& config, const std::filesystem::path& folder, const std::filesystem::path& name)
    : LineLogger(open_log(config, folder, name), config.prefix) {}

void CSVLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  std::string lines;
  for (const auto& [name, value] : values) lines += fmt::format("{},{},{},{}\n", step, epoch, cell(prefix_ + name), value_text(value));
  log_->write(lines);
}

}  // namespace levin
