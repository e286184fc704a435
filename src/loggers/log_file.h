#pragma once
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "levin/core/seconds.h"

namespace levin::detail {

/// A file that a logger appends to. Creates the folder. IoError, with path and reason, if the file cannot be written.
class LogFile {
 public:
  /// `mode` as fopen's. Who watches the file waits for `flush_interval` at most, while there is something to write.
  LogFile(std::filesystem::path path, const char* mode, Seconds flush_interval);

  /// Of a file that was just opened.
  bool empty() const { return std::ftell(file_.get()) == 0; }
  void write(std::string_view bytes);
  void flush();
  /// Of the file, with what was written so far.
  int64_t size();
  /// The bytes [begin, end) of the file, or as many of them as it has.
  std::string read(int64_t begin, int64_t end);
  /// Returns when all writes so far are on disk.
  void sync();
  /// To this size, if it is larger.
  void cut(int64_t bytes);
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  [[noreturn]] void refuse() const;

  std::filesystem::path path_;
  std::chrono::duration<double> flush_interval_;
  std::unique_ptr<std::FILE, Close> file_;
  std::chrono::steady_clock::time_point flushed_;
};

}  // namespace levin::detail
