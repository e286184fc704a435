#pragma once
#include <cstddef>
#include <cstdint>

#include "../core/file.h"

namespace levin::detail {

/// The pages of a file that several ranks of a host write. Calls of pwrite take turns at the file's lock; where a file is memory (tmpfs)
/// the ranks can write side by side into mappings of it.
class SharedPages {
 public:
  /// `use` false: nothing is mapped. The file has its size already.
  SharedPages(const File& file, bool use);
  ~SharedPages();
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;

  /// False, and nothing is written, where there is no mapping, or no room for these pages: then pwrite says why.
  bool write(const void* data, size_t bytes, uint64_t offset);

 private:
  std::byte* start_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace levin::detail
