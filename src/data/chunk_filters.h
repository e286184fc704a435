#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace levin::detail {

/// A filter of a chunk that Levin undoes itself, outside HDF5's lock.
struct ChunkFilter {
  enum class Kind { shuffle, gzip } kind;
  size_t element_bytes = 0;  ///< of shuffle
};

/// Undoes the filters of a stored chunk, in reverse order, but for those whose bit is set in `skipped`. Empty where the result does not
/// have `bytes` bytes: the chunk is corrupt.
std::vector<std::byte> undo_filters(std::vector<std::byte> stored, std::span<const ChunkFilter> filters, uint32_t skipped, size_t bytes);

/// Reverses the bytes of each element; 1, 2, 4 or 8 bytes.
void swap_bytes(std::span<std::byte> elements, size_t element_bytes);

}  // namespace levin::detail
