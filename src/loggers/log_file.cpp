#include "log_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "levin/core/error.h"

namespace levin::detail {

LogFile::LogFile(std::filesystem::path path, const char* mode, Seconds flush_interval)
    : path_(std::move(path)), flush_interval_(flush_interval.value), flushed_(std::chrono::steady_clock::now()) {
  std::error_code unseen;  // opening the file gives the better error
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), unseen);
  file_.reset(std::fopen(path_.c_str(), mode));
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

int64_t LogFile::size() {
  flush();
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path_, error);
  return error ? 0 : static_cast<int64_t>(bytes);  // of a device, say
}

std::string LogFile::read(int64_t begin, int64_t end) {
  flush();
  std::ifstream in(path_, std::ios::binary);
  std::string bytes(static_cast<size_t>(std::max<int64_t>(0, std::min(end, size()) - begin)), '\0');
  in.seekg(begin);
  if (!bytes.empty() && !in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) refuse();
  return bytes;
}

void LogFile::sync() {
  flush();
  if (fsync(fileno(file_.get())) != 0 && errno != EINVAL && errno != EROFS) refuse();  // a device cannot be synchronised
}

void LogFile::cut(int64_t bytes) {
  if (size() > bytes && ftruncate(fileno(file_.get()), bytes) != 0) refuse();
}

void LogFile::refuse() const {
  const bool full = errno == ENOSPC || errno == EDQUOT;
  throw IoError(
      fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)),
      full ? "free some space there, or use another --run_dir" : "give a --run_dir, or the logger a save_dir, that can be written",
      "loggers");
}

}  // namespace levin::detail
