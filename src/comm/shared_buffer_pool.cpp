#include "shared_buffer_pool.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

#include "levin/core/error.h"
#include "window_file.h"

namespace levin::detail {
namespace {

// The layout of the pool's file: a table of buffers and slots, then the slots, each large enough for the largest buffer. Empty slots have
// no pages. Pages are reserved before any rank writes to them: on a full file system a store into a missing page raises SIGBUS.
class Slots {
 public:
  explicit Slots(const std::vector<size_t>& bytes) : bytes_(bytes) {
    for (size_t& size : bytes_) size = std::max(whole_pages(size), page_bytes);
    stride_ = *std::max_element(bytes_.begin(), bytes_.end());
    begin_ = whole_pages(sizeof(Table) + bytes_.size() * sizeof(Entry));
  }
  size_t table_bytes() const noexcept { return begin_; }
  size_t file_bytes() const noexcept { return begin_ + bytes_.size() * stride_; }
  size_t needed_bytes() const noexcept { return begin_ + std::min<size_t>(2, bytes_.size()) * stride_; }

  // Zero-initialized. An entry describes a buffer, and the slot with the same index.
  struct Entry {
    int holders, slot;     // of the buffer
    size_t reserved;       // bytes of the slot
    uint64_t released_at;  // of the slot; 0: held or empty
  };
  struct Table {
    std::atomic<int> locked;
    uint64_t clock;
  };
  static_assert(std::atomic<int>::is_always_lock_free);

 protected:
  std::vector<size_t> bytes_;
  size_t stride_ = 0, begin_ = 0;
};

class MappedBufferPool : public SharedBufferPool, private Slots {
 public:
  MappedBufferPool(const Slots& slots, void* start, int descriptor, std::string directory, std::function<void()> wait)
      : Slots(slots),
        start_(static_cast<std::byte*>(start)),
        descriptor_(descriptor),
        directory_(std::move(directory)),
        wait_(std::move(wait)) {}
  ~MappedBufferPool() override {
    munmap(start_, file_bytes());
    close(descriptor_);
  }
  MappedBufferPool(const MappedBufferPool&) = delete;
  MappedBufferPool& operator=(const MappedBufferPool&) = delete;

  std::byte* acquire(size_t buffer) override {
    lock();
    Entry& state = entry(buffer);
    const int code = state.holders > 0 ? 0 : find_slot(bytes_[buffer], state.slot);
    if (code == 0) state.holders++;
    const auto slot = static_cast<size_t>(state.slot);
    unlock();
    if (code != 0)
      throw IoError(fmt::format("cannot allocate a shared buffer of {} bytes in {}: {}", bytes_[buffer], directory_, std::strerror(code)),
                    "enlarge it, or use private memory", "comm");
    return start_ + begin_ + slot * stride_;
  }

  void release(size_t buffer) noexcept override {
    try {
      lock();
    } catch (...) {  // the job was aborted
      return;
    }
    if (Entry& state = entry(buffer); --state.holders == 0) {
      entry(static_cast<size_t>(state.slot)).released_at = ++table().clock;
      keep(buffers_kept);
    }
    unlock();
  }

 private:
  Table& table() const { return *reinterpret_cast<Table*>(start_); }
  Entry& entry(size_t i) const { return reinterpret_cast<Entry*>(start_ + sizeof(Table))[i]; }
  void lock() {
    while (table().locked.exchange(1, std::memory_order_acquire) != 0) wait_();
  }
  void unlock() { table().locked.store(0, std::memory_order_release); }

  int find_slot(size_t bytes, int& slot) {
    for (size_t i = 0; i < bytes_.size(); i++)
      if (entry(i).released_at != 0 && entry(i).reserved == bytes) {
        entry(i).released_at = 0;
        slot = static_cast<int>(i);
        return 0;
      }
    keep(0);
    size_t empty = 0;
    while (entry(empty).reserved != 0) empty++;  // there are as many slots as buffers
    const int code = reserve_pages(descriptor_, begin_ + empty * stride_, bytes);
    if (code == 0) entry(empty).reserved = bytes, slot = static_cast<int>(empty);
    return code;
  }

  // Empties free slots, oldest first, until `buffers_kept` remain.
  void keep(size_t most) {
    for (;;) {
      size_t free = 0, oldest = 0;
      for (size_t i = 0; i < bytes_.size(); i++)
        if (const auto at = entry(i).released_at; at != 0 && (free++ == 0 || at < entry(oldest).released_at)) oldest = i;
      if (free <= most) return;
      fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin_ + oldest * stride_),
                static_cast<off_t>(stride_));
      entry(oldest).reserved = 0, entry(oldest).released_at = 0;
    }
  }

  std::byte* start_;
  int descriptor_;
  std::string directory_;
  std::function<void()> wait_;
};

}  // namespace

std::shared_ptr<SharedBufferPool> map_buffer_pool(const WindowRequest& request, const GatherErrno& gather_errno, std::function<void()> wait,
                                                  WindowFailure& failure) {
  const Slots slots(request.bytes);
  WindowFile file(request.path, request.rank == 0);
  if (!file.open_on_all(slots.file_bytes(), slots.needed_bytes(), gather_errno, failure)) return nullptr;
  int code = request.rank == 0 ? reserve_pages(file.descriptor(), 0, slots.table_bytes()) : 0;
  if (!all_good(gather_errno(code), "reserve", failure)) return nullptr;
  void* start = mmap(nullptr, slots.file_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  code = start == MAP_FAILED ? errno : 0;
  std::shared_ptr<SharedBufferPool> memory;
  if (code == 0)
    memory = std::make_shared<MappedBufferPool>(slots, start, file.take_descriptor(), request.path.substr(0, request.path.rfind('/')),
                                                std::move(wait));
  return all_good(gather_errno(code), "map", failure) ? memory : nullptr;
}

std::shared_ptr<SharedBufferPool> private_buffer_pool(const std::vector<size_t>& bytes) {
  const Slots slots(bytes);
  const int descriptor = memfd_create("levin", MFD_CLOEXEC);
  void* start = MAP_FAILED;
  if (descriptor >= 0 && ftruncate(descriptor, static_cast<off_t>(slots.file_bytes())) == 0)
    start = mmap(nullptr, slots.file_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (start == MAP_FAILED) {
    const int code = errno;
    if (descriptor >= 0) close(descriptor);
    throw IoError(fmt::format("cannot allocate buffers of {} bytes: {}", slots.file_bytes(), std::strerror(code)), {}, "comm");
  }
  return std::make_shared<MappedBufferPool>(slots, start, descriptor, "memory", [] {});
}

}  // namespace levin::detail
