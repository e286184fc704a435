#include "log_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

// Of a file that cannot be written; what is beyond is dropped, with an error.
constexpr size_t most_kept = size_t{64} << 20;

}  // namespace

LogFile::LogFile(std::filesystem::path path, Mode mode, Seconds flush_interval)
    : path_(std::move(path)), flush_interval_(flush_interval.value), flushed_(std::chrono::steady_clock::now()) {
  std::error_code unseen;  // opening the file gives the better error
  if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path(), unseen);
  file_ = open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | (mode == Mode::create_new ? O_EXCL : 0), 0666);
  if (file_ < 0) refuse();
}

LogFile::~LogFile() {
  try {
    flush();
  } catch (const IoError&) {  // finalize has reported it
  }
  close(file_);
}

void LogFile::write(std::string_view bytes) {
  if (kept_.size() + bytes.size() > most_kept) flush();
  kept_ += bytes;
  if (std::chrono::steady_clock::now() - flushed_ > flush_interval_) flush();
}

void LogFile::flush() {
  size_t written = 0;
  while (written < kept_.size()) {
    const auto bytes = ::write(file_, kept_.data() + written, kept_.size() - written);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) {
      const int reason = errno;
      kept_.erase(0, written);
      errno = reason;
      refuse();
    }
    written += static_cast<size_t>(bytes);
  }
  kept_.clear();
  flushed_ = std::chrono::steady_clock::now();
}

int64_t LogFile::size() const {
  struct stat status {};
  const bool regular = fstat(file_, &status) == 0 && S_ISREG(status.st_mode);  // or a device
  return (regular ? status.st_size : 0) + static_cast<int64_t>(kept_.size());
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
  if (fsync(file_) != 0 && errno != EINVAL && errno != EROFS) refuse();  // a device cannot be synchronised
}

void LogFile::cut(int64_t bytes) {
  flush();
  if (size() > bytes && ftruncate(file_, bytes) != 0) refuse();
}

void LogFile::refuse() const {
  const bool full = errno == ENOSPC || errno == EDQUOT;
  throw IoError(
      fmt::format("cannot write {}: {}", path_.string(), std::strerror(errno)),
      full ? "free some space there, or use another --run_dir" : "give a --run_dir, or the logger a save_dir, that can be written",
      "loggers");
}

}  // namespace levin::detail
