#include "mapped_window.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "levin/core/error.h"

namespace levin::detail {
namespace {

constexpr size_t page_bytes = 4096, reserve_chunk_bytes = size_t{16} << 20;

size_t whole_pages(size_t bytes) { return (bytes + page_bytes - 1) / page_bytes * page_bytes; }

class MappedWindow : public SharedWindow {
 public:
  MappedWindow(void* start, size_t mapped_bytes, std::vector<size_t> bytes) : start_(start), mapped_bytes_(mapped_bytes) {
    auto* part = static_cast<std::byte*>(start);
    for (size_t size : bytes) {
      parts_.push_back(part);
      part += whole_pages(size);
    }
    bytes_ = std::move(bytes);
  }
  ~MappedWindow() override { munmap(start_, mapped_bytes_); }
  MappedWindow(const MappedWindow&) = delete;
  MappedWindow& operator=(const MappedWindow&) = delete;

 private:
  void* start_;
  size_t mapped_bytes_;
};

/// The file behind a window while it is being made: closed, and by its maker unlinked, on every way out.
class WindowFile {
 public:
  WindowFile(const std::string& path, bool maker) : path_(path), maker_(maker) {}
  ~WindowFile() {
    remove();
    if (descriptor_ >= 0) close(descriptor_);
  }
  WindowFile(const WindowFile&) = delete;
  WindowFile& operator=(const WindowFile&) = delete;

  int descriptor() const { return descriptor_; }
  int open() {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (maker_ ? O_CREAT | O_EXCL : 0), 0600);
    linked_ = maker_ && descriptor_ >= 0;
    return descriptor_ < 0 ? errno : 0;
  }
  void remove() {
    if (std::exchange(linked_, false)) unlink(path_.c_str());
  }
  int resize(size_t bytes) { return ftruncate(descriptor_, static_cast<off_t>(bytes)) == 0 ? 0 : errno; }
  int reserve(size_t offset, size_t bytes) {
    // In chunks: a signal ends fallocate, which then gives back what it had of this call.
    for (size_t done = 0; done < bytes;) {
      const size_t chunk = std::min(reserve_chunk_bytes, bytes - done);
      const int code = posix_fallocate(descriptor_, static_cast<off_t>(offset + done), static_cast<off_t>(chunk));
      if (code == EINTR) continue;
      if (code != 0) return code;
      done += chunk;
    }
    return 0;
  }

 private:
  std::string path_;
  bool maker_, linked_ = false;
  int descriptor_ = -1;
};

size_t free_bytes(const std::string& path) {
  struct statvfs stats {};
  if (statvfs(path.substr(0, path.rfind('/')).c_str(), &stats) != 0) return 0;
  if (stats.f_blocks == 0) return std::numeric_limits<size_t>::max();  // a tmpfs without a limit
  return static_cast<size_t>(stats.f_bavail) * stats.f_frsize;
}

bool all_good(const std::vector<int>& codes, const char* call, WindowFailure& failure) {
  const auto bad = std::find_if(codes.begin(), codes.end(), [](int code) { return code != 0; });
  if (bad == codes.end()) return true;
  failure.rank = static_cast<int>(bad - codes.begin());
  failure.code = *bad;
  failure.call = call;
  return false;
}

}  // namespace

std::shared_ptr<SharedWindow> map_window(const WindowRequest& request, const AgreeErrno& agree, WindowFailure& failure) {
  const auto rank = static_cast<size_t>(request.rank);
  size_t total = 0, offset = 0;
  for (size_t i = 0; i < request.bytes.size(); i++) {
    if (i == rank) offset = total;
    total += whole_pages(request.bytes[i]);
  }
  total = std::max(total, page_bytes);
  failure.need_bytes = total;
  failure.free_bytes = free_bytes(request.path);

  WindowFile file(request.path, rank == 0);
  int code = 0;
  if (rank == 0) {
    // Not worth starting to fill the file system for; what counts is what the reservation says.
    code = failure.free_bytes < total ? ENOSPC : file.open();
    if (code == 0) code = file.resize(total);
  }
  if (!all_good(agree(code), "reserve", failure)) return nullptr;
  if (rank != 0) code = file.open();
  if (!all_good(agree(code), "open", failure)) return nullptr;
  file.remove();  // all have it open; a process that is killed from now on leaves nothing behind
  if (!all_good(agree(file.reserve(offset, whole_pages(request.bytes[rank]))), "reserve", failure)) return nullptr;

  void* start = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  std::shared_ptr<MappedWindow> window;
  if (start == MAP_FAILED) {
    code = errno;
  } else {
    window = std::make_shared<MappedWindow>(start, total, request.bytes);
    std::memset(window->part(request.rank), 0, request.bytes[rank]);  // fills in the page tables, so that the first step need not
  }
  if (!all_good(agree(code), "map", failure)) return nullptr;
  return window;
}

std::shared_ptr<SharedWindow> private_window(size_t bytes) {
  const size_t mapped = std::max(whole_pages(bytes), page_bytes);
  void* start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) throw IoError(fmt::format("no memory for a window of {} bytes: {}", mapped, std::strerror(errno)), {}, "comm");
  madvise(start, mapped, MADV_HUGEPAGE);
  return std::make_shared<MappedWindow>(start, mapped, std::vector<size_t>{bytes});
}

}  // namespace levin::detail
