#include "levin/core/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace levin {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

Log Log::to_stderr(int rank, LogLevel least) {
  Log log;
  log.rank_ = rank;
  log.logger_ = std::make_shared<spdlog::logger>("levin", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  log.logger_->set_level(spdlog_level(least));
  log.logger_->set_pattern("%v");
  return log;
}

void Log::write(LogLevel level, fmt::string_view text, fmt::format_args args) const {
  if (!logger_ || (rank_ != 0 && level < LogLevel::warning)) return;
  std::string line = level >= LogLevel::warning ? (level == LogLevel::warning ? "warning: " : "error: ") : "";
  if (rank_ != 0) line = fmt::format("rank {}: {}", rank_, line);
  logger_->log(spdlog_level(level), line + fmt::vformat(text, args));
}

}  // namespace levin
