#include "log_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "levin/core/error.h"

namespace levin::detail {

LogFile::LogFile(std::filesystem::path path, const char* mode, Seconds flush_interval, std::string remedy)
    : path_(std::move(path)),
      flush_interval_(flush_interval.value),
      remedy_(std::move(remedy)),
      file_(std::fopen(path_.c_str(), mode)),
      flushed_(std::chrono::steady_clock::now()) {
  if (!file_) refuse();
}

void LogFile::write(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) refuse();
  if (std::chrono::steady_clock::now() - flushed_ > flush_interval_) flush();
}

void LogFile::flush() {
  if (std::fflush(file_.get()) != 0) refuse();
  flushed_ = std::chrono::steady_clock::now();
}

void LogFile::refuse() const { refuse(path_, std::strerror(errno), remedy_); }

void LogFile::refuse(const std::filesystem::path& path, const std::string& reason, const std::string& remedy) {
  throw IoError(fmt::format("cannot write {}: {}", path.string(), reason), remedy, "loggers");
}

}  // namespace levin::detail
