#pragma once
#include <filesystem>
#include <string_view>

#include "log_file.h"

namespace levin::detail {

/// A new file of events for TensorBoard: records of bytes, each with its length and checksums (TFRecord). A folder may hold many; whoever
/// reads it takes them in the order of their names, which begin with the time. IoError, with the path, when it cannot be written.
class EventFile {
 public:
  /// Makes the folder, too. Who watches the file waits for `flush_interval` at most, while there is something to write.
  EventFile(const std::filesystem::path& folder, Seconds flush_interval);

  void write(std::string_view record);
  void flush() { file_.flush(); }
  const std::filesystem::path& path() const noexcept { return file_.path(); }

 private:
  LogFile file_;
};

}  // namespace levin::detail
