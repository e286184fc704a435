#include "levin/core/log.h"

#include <spdlog/details/null_mutex.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include "status_line.h"

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

// Its lines are above what is shown at the bottom of the terminal. A StatusLine has a mutex.
class StatusSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit StatusSink(std::shared_ptr<detail::StatusLine> status_line) : status_line_(std::move(status_line)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    status_line_->print({line.data(), line.size()});
  }
  void flush_() override {}

  std::shared_ptr<detail::StatusLine> status_line_;
};

}  // namespace

Log Log::to_stderr(int rank, LogLevel least) {
  Log log;
  log.rank_ = rank;
  log.status_line_ = std::make_shared<detail::StatusLine>(STDERR_FILENO);
  log.logger_ = std::make_shared<spdlog::logger>("levin", std::make_shared<StatusSink>(log.status_line_));
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
