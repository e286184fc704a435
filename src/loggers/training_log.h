#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "levin/session/state_dict.h"
#include "log_file.h"

namespace levin::detail {

/// A text file of lines that follows a training: an existing file is continued, and a training that resumes, or starts over, moves the
/// lines that are not its past to the end of NAME.abandoned.EXTENSION.
class TrainingLog {
 public:
  /// What NAME.abandoned.EXTENSION begins with, and its form of a line that was moved at `time` (UTC, ISO 8601).
  struct Abandoned {
    std::string header;
    std::function<std::string(std::string_view line, const std::string& time)> line;
  };
  /// A new file begins with `header`. IoError when it cannot be written.
  TrainingLog(std::filesystem::path path, std::string header, Abandoned abandoned, Seconds flush_interval);

  /// Whole lines.
  void write(std::string_view lines) { file_.write(lines); }
  void flush() { file_.flush(); }
  const std::filesystem::path& path() const noexcept { return file_.path(); }
  /// The file's length: what is beyond it is not the past of a run that resumes.
  StateDict state_dict();
  void load_state_dict(const StateDict& state);
  void begin_training();

 private:
  void keep_abandoned(const std::string& lines);

  std::string header_;
  Abandoned abandoned_;
  Seconds flush_interval_;
  LogFile file_;
  bool begun_ = false;
  int64_t opened_bytes_ = 0;           // what the file had before this log's first line
  std::optional<int64_t> past_bytes_;  // of the checkpoint that the training resumes from
};

}  // namespace levin::detail
