#include "block_writer.h"

#include <xxhash.h>

#include <algorithm>

#include "levin/core/error.h"

namespace levin::detail {

std::vector<WrittenBlock> write_parts(File& file, std::vector<Part> parts, WriteProgress& progress) {
  // Small enough for a core's cache: what the copy into the page cache has read, the hash finds there.
  constexpr uint64_t chunk_bytes = 128 << 10;
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.file_offset < b.file_offset; });
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> hash(XXH3_createState(), XXH3_freeState);
  const HoldFileSizeSignal hold;
  std::vector<WrittenBlock> blocks;
  for (const auto& part : parts)
    for (uint64_t block = 0; block < part.bytes; block += block_bytes) {
      const uint64_t end = std::min(block + block_bytes, part.bytes);
      XXH3_64bits_reset(hash.get());
      for (uint64_t chunk = block; chunk < end; chunk += chunk_bytes) {
        if (progress.cancelled) throw IoError(fmt::format("{} is not needed any more", file.path().string()), {}, "checkpoint");
        const uint64_t bytes = std::min(chunk_bytes, end - chunk);
        file.write_at(part.data + chunk, bytes, part.file_offset + chunk);
        XXH3_64bits_update(hash.get(), part.data + chunk, bytes);
        progress.bytes += bytes;
      }
      blocks.push_back({part.dataset, part.begin + block, end - block, XXH3_64bits_digest(hash.get())});
    }
  return blocks;
}

}  // namespace levin::detail
