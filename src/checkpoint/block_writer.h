#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "../core/file.h"

namespace levin::detail {

/// A contiguous part of a data set that this rank writes.
struct Part {
  const std::byte* data = nullptr;
  uint64_t bytes = 0;
  uint64_t file_offset = 0;
  int64_t dataset = 0;  ///< index of the data set; tensors come before texts
  uint64_t begin = 0;   ///< offset of the part in its data set
};

/// A written block of a data set, with its checksum.
struct WrittenBlock {
  int64_t dataset = 0;
  uint64_t begin = 0, bytes = 0, hash = 0;
};

/// Progress of a write. Another thread may read it, and cancel the write.
struct WriteProgress {
  std::atomic<uint64_t> bytes{0};
  std::atomic<bool> cancelled{false};
};

constexpr uint64_t block_bytes = 4 << 20;

/// Writes the parts in file order, in blocks of at most block_bytes. Blocks do not cross parts, so each block belongs to one rank, which
/// hashes it in memory: nothing is read back. `shared`: other ranks of this host write the same file. IoError, also when cancelled.
std::vector<WrittenBlock> write_parts(File& file, std::vector<Part> parts, bool shared, WriteProgress& progress);

}  // namespace levin::detail
