#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "../core/file.h"
#include "xxh3.h"

namespace levin::detail {

/// Reads and hashes a file in one pass, in chunks that fit a core's cache.
class HashingReader {
 public:
  explicit HashingReader(const File& file) : file_(file) { hash_.reset(); }

  void reset() { hash_.reset(); }
  /// Hashes bytes [begin, end) of the file, and stores bytes [wanted_begin, wanted_end) at `to`. The hash is computed from the stored
  /// bytes, not from a second read.
  void add(uint64_t begin, uint64_t end, uint64_t wanted_begin = 0, uint64_t wanted_end = 0, std::byte* to = nullptr);
  /// Hashes bytes [begin, end) of the file, and passes them to `use` in chunks.
  void add_each(uint64_t begin, uint64_t end, const std::function<void(uint64_t begin, const std::byte* bytes, uint64_t count)>& use);
  uint64_t value() const { return hash_.value(); }

 private:
  static constexpr uint64_t chunk_bytes = 128 << 10;

  const File& file_;
  Xxh3 hash_;
  std::vector<std::byte> memory_;
};

}  // namespace levin::detail
