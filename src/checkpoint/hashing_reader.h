#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "../core/file.h"
#include "xxh3.h"

namespace levin::detail {

/// Reads and hashes in one pass, by pieces that a core's cache holds.
class HashingReader {
 public:
  explicit HashingReader(const File& file) : file_(file) { hash_.reset(); }

  void reset() { hash_.reset(); }
  /// Hashes bytes [begin, end) of the file, and leaves those of [wanted_begin, wanted_end) at `to`: what is hashed there is what lies
  /// there.
  void add(uint64_t begin, uint64_t end, uint64_t wanted_begin = 0, uint64_t wanted_end = 0, std::byte* to = nullptr);
  /// Hashes bytes [begin, end) of the file, and gives them to `use`, piece by piece.
  void add_each(uint64_t begin, uint64_t end, const std::function<void(uint64_t begin, const std::byte* bytes, uint64_t count)>& use);
  uint64_t value() const { return hash_.value(); }

 private:
  static constexpr uint64_t chunk_bytes = 128 << 10;

  const File& file_;
  Xxh3 hash_;
  std::vector<std::byte> memory_;
};

}  // namespace levin::detail
