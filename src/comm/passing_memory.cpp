#include "passing_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "levin/core/error.h"
#include "window_file.h"

namespace levin::detail {
namespace {

// The first page; all zero at first.
struct Control {
  std::atomic<int> locked;
  int held;  // by so many ranks
};
static_assert(std::atomic<int>::is_always_lock_free);

// A file of which the first page stays. Its other pages are reserved before anybody writes to them: a write to a page that a full file
// system cannot give is a SIGBUS.
class MappedPassing : public PassingMemory {
 public:
  MappedPassing(void* start, int descriptor, size_t bytes, std::string path, std::function<void()> wait)
      : start_(static_cast<std::byte*>(start)), descriptor_(descriptor), bytes_(bytes), path_(std::move(path)), wait_(std::move(wait)) {}
  ~MappedPassing() override {
    munmap(start_, page_bytes + bytes_);
    close(descriptor_);
  }
  MappedPassing(const MappedPassing&) = delete;
  MappedPassing& operator=(const MappedPassing&) = delete;

  std::byte* hold() override {
    while (control().locked.exchange(1, std::memory_order_acquire) != 0) wait_();
    const int code = control().held > 0 ? 0 : reserve_pages(descriptor_, page_bytes, bytes_);
    if (code == 0) control().held++;
    unlock();
    if (code != 0)
      throw IoError(fmt::format("no memory for a shared buffer of {} bytes in {}: {}", bytes_, path_, std::strerror(code)),
                    "enlarge it, or use private memory", "comm");
    return start_ + page_bytes;
  }

  void let_go() noexcept override {
    try {
      while (control().locked.exchange(1, std::memory_order_acquire) != 0) wait_();
    } catch (...) {  // the job is ending
      return;
    }
    if (--control().held == 0)
      fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(page_bytes), static_cast<off_t>(bytes_));
    unlock();
  }

 private:
  Control& control() const { return *reinterpret_cast<Control*>(start_); }
  void unlock() { control().locked.store(0, std::memory_order_release); }

  std::byte* start_;
  int descriptor_;
  size_t bytes_;
  std::string path_;
  std::function<void()> wait_;
};

class PrivatePassing : public PassingMemory {
 public:
  explicit PrivatePassing(size_t bytes) : bytes_(whole_pages(bytes)) {}
  std::byte* hold() override {
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(page_bytes, bytes_)));
    if (!memory_) throw std::bad_alloc();
    return memory_.get();
  }
  void let_go() noexcept override { memory_.reset(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  size_t bytes_;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace

std::shared_ptr<PassingMemory> map_passing(const WindowRequest& request, const AgreeErrno& agree, std::function<void()> wait,
                                           WindowFailure& failure) {
  size_t bytes = 0;
  for (const size_t part : request.bytes) bytes += part;
  bytes = whole_pages(bytes);
  const size_t total = page_bytes + bytes;
  WindowFile file(request.path, request.rank == 0);
  if (!file.open_on_all(total, agree, failure)) return nullptr;
  int code = request.rank == 0 ? reserve_pages(file.descriptor(), 0, page_bytes) : 0;
  if (!all_good(agree(code), "reserve", failure)) return nullptr;
  void* start = mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  code = start == MAP_FAILED ? errno : 0;
  std::shared_ptr<PassingMemory> memory;
  if (code == 0)
    memory = std::make_shared<MappedPassing>(start, file.take_descriptor(), bytes, request.path.substr(0, request.path.rfind('/')),
                                             std::move(wait));
  return all_good(agree(code), "map", failure) ? memory : nullptr;
}

std::shared_ptr<PassingMemory> private_passing(size_t bytes) { return std::make_shared<PrivatePassing>(bytes); }

}  // namespace levin::detail
