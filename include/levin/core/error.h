#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace levin {

/// What a job script may act on. 75 means: run me again.
enum class ExitCode : int {
  finished = 0,
  bad_data = 65,       ///< data or checkpoint that cannot be trusted
  rank_lost = 69,      ///< a rank died, hung or left
  internal = 70,       ///< anything else
  io_failed = 74,      ///< a file system, a window or a device refused
  stopped_early = 75,  ///< state is committed; start again to go on
  stopped_for_good = 77,
  bad_config = 78,
  interrupted = 130,
};

/// Every error of Levin's: `[tag] what happened, with values; remedy`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, std::string tag, const std::string& message, const std::string& remedy = {});

  ExitCode exit_code() const noexcept { return code_; }
  const std::string& tag() const noexcept { return tag_; }
  const std::string& remedy() const noexcept { return remedy_; }

 private:
  ExitCode code_;
  std::string tag_, remedy_;
};

/// Bad options or a bad config file (78).
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message, const std::string& remedy = {}, std::string tag = "config")
      : Error(ExitCode::bad_config, std::move(tag), message, remedy) {}
};

/// Data or a checkpoint that cannot be used (65).
class DataError : public Error {
 public:
  explicit DataError(const std::string& message, const std::string& remedy = {}, std::string tag = "data")
      : Error(ExitCode::bad_data, std::move(tag), message, remedy) {}
};

/// The system refused: a file, a window, memory (74).
class IoError : public Error {
 public:
  explicit IoError(const std::string& message, const std::string& remedy = {}, std::string tag = "io")
      : Error(ExitCode::io_failed, std::move(tag), message, remedy) {}
};

/// A call that the interface forbids: wrong shapes, wrong order, wrong dtype (70).
class UsageError : public Error {
 public:
  explicit UsageError(std::string tag, const std::string& message, const std::string& remedy = {})
      : Error(ExitCode::internal, std::move(tag), message, remedy) {}
};

}  // namespace levin
