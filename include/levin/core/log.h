#pragma once
#include <fmt/core.h>

#include <memory>
#include <string_view>
#include <utility>

namespace spdlog {
class logger;
}

namespace levin {

namespace detail {
class StatusLine;
}

enum class LogLevel { debug, info, warning, error };

/// A rank's log. It is a value that is handed down, never a global: a Log made by default is silent, so Levin inside another program
/// prints nothing.
class Log {
 public:
  Log() = default;
  /// Lines on standard error. Debug and info come from rank 0 alone; warnings and errors of other ranks name the rank.
  static Log to_stderr(int rank, LogLevel least = LogLevel::info);

  /// Where lines are shown below those of this log; null for a silent log.
  const std::shared_ptr<detail::StatusLine>& status_line() const noexcept { return status_line_; }

  template <class... Args>
  void debug(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::debug, text, fmt::make_format_args(args...));
  }
  template <class... Args>
  void info(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::info, text, fmt::make_format_args(args...));
  }
  template <class... Args>
  void warning(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::warning, text, fmt::make_format_args(args...));
  }
  template <class... Args>
  void error(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::error, text, fmt::make_format_args(args...));
  }

 private:
  void write(LogLevel level, fmt::string_view text, fmt::format_args args) const;

  std::shared_ptr<spdlog::logger> logger_;
  std::shared_ptr<detail::StatusLine> status_line_;
  int rank_ = 0;
};

}  // namespace levin
