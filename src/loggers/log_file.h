#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "levin/core/seconds.h"

namespace levin::detail {

/// A file that a logger appends to. Creates the folder. IoError, with path and reason, if the file cannot be written; what was not written
/// yet is kept and tried again at the next flush, so that a disk that is full for a while loses nothing.
class LogFile {
 public:
  enum class Mode { append, create_new };

  /// Who watches the file waits for `flush_interval` at most, while there is something to write.
  LogFile(std::filesystem::path path, Mode mode, Seconds flush_interval);
  /// Flushes, without an error.
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  bool empty() const { return size() == 0; }
  void write(std::string_view bytes);
  void flush();
  /// Of the file, with what was written so far, be it kept.
  int64_t size() const;
  /// The bytes [begin, end) of the file, or as many of them as it has.
  std::string read(int64_t begin, int64_t end);
  /// Returns when all writes so far are on disk.
  void sync();
  /// To this size, if it is larger.
  void cut(int64_t bytes);
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  void refuse() const;

  std::filesystem::path path_;
  std::chrono::duration<double> flush_interval_;
  int file_ = -1;
  std::string kept_;
  std::chrono::steady_clock::time_point flushed_;
};

}  // namespace levin::detail
