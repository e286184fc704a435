#include "levin/loggers/json_logger.h"

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>

#include "json_values.h"
#include "training_log.h"

namespace levin {
namespace {

// nlohmann refuses text that is not UTF-8; a name may be any.
std::string json_line(const nlohmann::ordered_json& object) {
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string moved_line(std::string_view line, const std::string& time) {
  auto object = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) object = {{"text", std::string(line)}};  // the process was killed while it wrote the line
  object["moved"] = time;
  const auto text = json_line(object);
  return text.substr(0, text.size() - 1);
}

}  // namespace

JSONLogger::JSONLogger(const JSONLoggerConfig& config, const std::filesystem::path& folder)
    : prefix_(config.prefix.empty() ? "" : config.prefix + "-") {
  check_config(config);
  log_ = std::make_unique<detail::TrainingLog>((config.save_dir.empty() ? folder : config.save_dir) / "metrics.jsonl", "",
                                               detail::TrainingLog::Abandoned{"", moved_line}, config.flush_interval);
}

JSONLogger::~JSONLogger() = default;

void JSONLogger::log_metrics(const NamedValues& values, int64_t epoch, int64_t step) {
  nlohmann::ordered_json line = {{"step", step}, {"epoch", epoch}, {"time", detail::wall_time()}};
  for (const auto& [name, value] : values) {
    const auto key = prefix_ + name;
    const bool taken = key == "step" || key == "epoch" || key == "time";
    line[taken ? "metrics/" + key : key] = detail::json_number(value);
  }
  log_->write(json_line(line));
}

StateDict JSONLogger::state_dict() { return log_->state_dict(); }

void JSONLogger::load_state_dict(const StateDict& state) { log_->load_state_dict(state); }

void JSONLogger::begin_training(int64_t) { log_->begin_training(); }

void JSONLogger::finalize() { log_->flush(); }

}  // namespace levin
