#pragma once
#include <cstddef>

namespace levin {

/// A pool of node-shared buffers. A buffer has backing memory only while some rank of the node holds it. Buffers are numbered as in
/// NodeGroup::allocate_buffer_pool.
class SharedBufferPool {
 public:
  virtual ~SharedBufferPool() = default;
  /// The start of a buffer until release, page-aligned: the same memory for all ranks that hold it. Its values are arbitrary if no other
  /// rank holds it. Local. IoError without space.
  virtual std::byte* acquire(size_t buffer) = 0;
  virtual void release(size_t buffer) noexcept = 0;

  /// Released buffers whose memory is kept for the next acquire of their size.
  static constexpr size_t buffers_kept = 2;
};

}  // namespace levin
