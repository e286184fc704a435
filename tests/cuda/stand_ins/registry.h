#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "meeting.h"

namespace stand_in {

/// Memory that a communicator has registered.
class Registry {
 public:
  struct Entry {
    const std::byte* data;
    size_t bytes;
    int64_t window;  ///< its begin in the address space of windows; -1: registered without one
  };
  void* add(const void* data, size_t bytes, bool window);
  bool remove(void* handle);
  Placement place(const void* input, size_t input_bytes, const void* output, size_t output_bytes) const;
  bool overlaps(const void* data, size_t bytes) const;

 private:
  /// The first gap between windows: equal on ranks that have registered and freed the same windows in the same order.
  int64_t free_address(int64_t bytes) const;

  mutable std::mutex mutex_;
  std::vector<Entry*> entries_;
};

/// Memory of kernels that have not ended, over all communicators of the process.
class MemoryInUse {
 public:
  void add(const void* data, size_t bytes);
  void remove(const void* data, size_t bytes);
  bool overlaps(const void* data, size_t bytes) const;

 private:
  struct Range {
    const std::byte* data;
    size_t bytes;
  };
  mutable std::mutex mutex_;
  std::vector<Range> ranges_;
};
MemoryInUse& memory_in_use();

}  // namespace stand_in
