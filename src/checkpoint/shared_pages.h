#pragma once
#include <cstddef>
#include <cstdint>

#include "../core/file.h"

namespace levin::detail {

/// Concurrent writes of several ranks of a host into one file on tmpfs, through a mapping. Calls of pwrite would serialize on the inode's
/// lock.
class SharedPages {
 public:
  /// Maps the file if `use` and if it is on tmpfs. The file must already have its final size.
  SharedPages(const File& file, bool use);
  ~SharedPages();
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  /// False, with nothing written, if the file is not mapped or has no room for these pages; pwrite then reports the error.
  bool write(const void* data, size_t bytes, uint64_t offset);

 private:
  std::byte* start_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace levin::detail
