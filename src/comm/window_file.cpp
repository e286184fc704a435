#include "window_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace levin::detail {
namespace {

size_t free_bytes(const std::string& path) {
  struct statvfs stats {};
  if (statvfs(path.substr(0, path.rfind('/')).c_str(), &stats) != 0) return 0;
  if (stats.f_blocks == 0) return std::numeric_limits<size_t>::max();  // a tmpfs without a limit
  return static_cast<size_t>(stats.f_bavail) * stats.f_frsize;
}

}  // namespace

int reserve_pages(int descriptor, size_t offset, size_t bytes) {
  constexpr size_t chunk_bytes = size_t{16} << 20;  // a signal interrupts fallocate, which then undoes this call
  for (size_t done = 0; done < bytes;) {
    const size_t chunk = std::min(chunk_bytes, bytes - done);
    const int code = posix_fallocate(descriptor, static_cast<off_t>(offset + done), static_cast<off_t>(chunk));
    if (code == EINTR) continue;
    if (code != 0) return code;
    done += chunk;
  }
  return 0;
}

bool all_good(const std::vector<int>& codes, const char* call, WindowFailure& failure) {
  const auto bad = std::find_if(codes.begin(), codes.end(), [](int code) { return code != 0; });
  if (bad == codes.end()) return true;
  failure.rank = static_cast<int>(bad - codes.begin());
  failure.code = *bad;
  failure.call = call;
  return false;
}

WindowFile::~WindowFile() {
  remove();
  if (descriptor_ >= 0) close(descriptor_);
}

int WindowFile::take_descriptor() noexcept { return std::exchange(descriptor_, -1); }

int WindowFile::open() {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (maker_ ? O_CREAT | O_EXCL : 0), 0600);
  linked_ = maker_ && descriptor_ >= 0;
  return descriptor_ < 0 ? errno : 0;
}

void WindowFile::remove() {
  if (std::exchange(linked_, false)) unlink(path_.c_str());
}

bool WindowFile::open_on_all(size_t bytes, size_t needed, const GatherErrno& gather_errno, WindowFailure& failure) {
  failure.need_bytes = needed;
  failure.free_bytes = free_bytes(path_);
  int code = 0;
  if (maker_) {
    // Fail early instead of filling the file system; the reservation has the last word.
    code = failure.free_bytes < needed ? ENOSPC : open();
    if (code == 0 && ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) code = errno;
  }
  if (!all_good(gather_errno(code), "reserve", failure)) return false;
  if (!maker_) code = open();
  if (!all_good(gather_errno(code), "open", failure)) return false;
  remove();
  return true;
}

}  // namespace levin::detail
