#include "mapped_window.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "levin/core/error.h"
#include "window_file.h"

namespace levin::detail {
namespace {

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

}  // namespace

std::shared_ptr<SharedWindow> map_window(const WindowRequest& request, const GatherErrno& gather_errno, WindowFailure& failure) {
  const auto rank = static_cast<size_t>(request.rank);
  size_t total = 0, offset = 0;
  for (size_t i = 0; i < request.bytes.size(); i++) {
    if (i == rank) offset = total;
    total += whole_pages(request.bytes[i]);
  }
  total = std::max(total, page_bytes);
  WindowFile file(request.path, rank == 0);
  if (!file.open_on_all(total, total, gather_errno, failure)) return nullptr;
  if (!all_good(gather_errno(reserve_pages(file.descriptor(), offset, whole_pages(request.bytes[rank]))), "reserve", failure))
    return nullptr;

  int code = 0;
  void* start = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  std::shared_ptr<MappedWindow> window;
  if (start == MAP_FAILED) {
    code = errno;
  } else {
    window = std::make_shared<MappedWindow>(start, total, request.bytes);
    std::memset(window->part(request.rank), 0, request.bytes[rank]);  // fault the pages in now, not in the first step
  }
  if (!all_good(gather_errno(code), "map", failure)) return nullptr;
  return window;
}

std::shared_ptr<SharedWindow> private_window(size_t bytes) {
  const size_t mapped = std::max(whole_pages(bytes), page_bytes);
  void* start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) throw IoError(fmt::format("cannot allocate a window of {} bytes: {}", mapped, std::strerror(errno)), {}, "comm");
  madvise(start, mapped, MADV_HUGEPAGE);
  return std::make_shared<MappedWindow>(start, mapped, std::vector<size_t>{bytes});
}

}  // namespace levin::detail
