#include "shared_pages.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstring>

namespace levin::detail {

SharedPages::SharedPages(const File& file, bool use) {
  struct statfs about {};
  if (!use || fstatfs(file.descriptor(), &about) != 0 || about.f_type != TMPFS_MAGIC) return;
  bytes_ = file.size();
  if (bytes_ == 0) return;
  void* start = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  if (start != MAP_FAILED) start_ = static_cast<std::byte*>(start);
}

SharedPages::~SharedPages() {
  if (start_) munmap(start_, bytes_);
}

bool SharedPages::write(const void* data, size_t bytes, uint64_t offset) {
  if (!start_ || offset + bytes > bytes_) return false;
  static const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = offset / page * page;
  // On a full tmpfs the first store into a page would raise SIGBUS; populating it returns an error instead.
  constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, since Linux 5.14
  if (madvise(start_ + begin, offset + bytes - begin, populate_write) != 0) return false;
  std::memcpy(start_ + offset, data, bytes);
  return true;
}

}  // namespace levin::detail
