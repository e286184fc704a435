#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "../core/file.h"

namespace levin::detail {

/// Bytes of a data set that this rank writes.
struct Part {
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
  uint64_t file_offset = 0;
  int64_t dataset = 0;  ///< its number: the tensors' first, then the texts'
  uint64_t begin = 0;   ///< of the part in its data set
};

/// What was written of a data set, with its checksum.
struct WrittenBlock {
  int64_t dataset = 0;
  uint64_t begin = 0, bytes = 0, hash = 0;
};

/// How much is written; read from another thread, which may also ask for an early end.
struct WriteProgress {
  std::atomic<uint64_t> bytes{0};
  std::atomic<bool> cancelled{false};
};

constexpr uint64_t block_bytes = 4 << 20;

/// Writes the parts in the order of the file, in blocks of at most block_bytes. A block begins where a part does, so no block is two
/// ranks', and every checksum is made of memory that is about to be written: nothing is read back. `shared`: other ranks of this host
/// write the file, too.
std::vector<WrittenBlock> write_parts(File& file, std::vector<Part> parts, bool shared, WriteProgress& progress);

}  // namespace levin::detail
