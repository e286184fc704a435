#include "levin/loggers/json_logger.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "json_values.h"
#include "logger_fields.h"
#include "training_log.h"

namespace levin {
namespace {

std::string moved_line(std::string_view line, const std::string& time) {
  auto object = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) object = {{"text", std::string(line)}};  // the process was killed while it wrote the line
  object["moved"] = time;
  const auto text = detail::json_line(object);
  return text.substr(0, text.size() - 1);
}

std::unique_ptr<detail::TrainingLog> open_log(const JSONLoggerConfig& config, const std::filesystem::path& folder) {
  check_config(config);
  return std::make_unique<detail::TrainingLog>(detail::save_folder(config.save_dir, folder) / "metrics.jsonl", "",
                                               detail::TrainingLog::Abandoned{"", moved_line}, config.flush_interval);
}

}  // namespace

JSONLogger::JSONLogger(const JSONLoggerConfig& config, const std::filesystem::path& folder)
    : LineLogger(open_log(config, folder), config.prefix) {}

void JSONLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  nlohmann::ordered_json line = {{"step", step}, {"epoch", epoch}, {"time", detail::wall_time()}};
  for (const auto& [name, value] : values) {
    const auto key = prefix_ + name;
    const bool taken = key == "step" || key == "epoch" || key == "time";
    line[taken ? "metrics/" + key : key] = detail::json_number(value);
  }
  log_->write(detail::json_line(line));
}

}  // namespace levin
