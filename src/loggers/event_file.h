#pragma once
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>

#include "levin/core/seconds.h"

namespace levin::detail {

/// A new file of events for TensorBoard: records of bytes, each with its length and checksums (TFRecord). A folder may hold many; whoever
/// reads it takes them in the order of their names, which begin with the time. IoError, with the path, when it cannot be written.
class EventFile {
 public:
  /// Makes the folder, too. Who watches the file waits for `flush_interval` at most, while there is something to write.
  EventFile(const std::filesystem::path& folder, Seconds flush_interval);

  void write(std::string_view record);
  void flush();
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::chrono::duration<double> flush_interval_;
  std::chrono::steady_clock::time_point flushed_;
};

}  // namespace levin::detail
