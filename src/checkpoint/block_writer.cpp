#include "block_writer.h"

#include <algorithm>

#include "levin/core/error.h"
#include "shared_pages.h"
#include "xxh3.h"

namespace levin::detail {

std::vector<WrittenBlock> write_parts(File& file, std::vector<Part> parts, bool shared, WriteProgress& progress) {
  // Fits a core's cache: the hash hits the lines that the copy into the page cache has just loaded.
  constexpr uint64_t chunk_bytes = 128 << 10;
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.file_offset < b.file_offset; });
  Xxh3 hash;
  const HoldFileSizeSignal hold;
  SharedPages pages(file, shared);
  std::vector<WrittenBlock> blocks;
  for (const auto& part : parts)
    for (uint64_t block = 0; block < part.bytes; block += block_bytes) {
      const uint64_t end = std::min(block + block_bytes, part.bytes);
      hash.reset();
      for (uint64_t chunk = block; chunk < end; chunk += chunk_bytes) {
        if (progress.cancelled) throw IoError(fmt::format("write of {} cancelled", file.path().string()), {}, "checkpoint");
        const uint64_t bytes = std::min(chunk_bytes, end - chunk);
        if (!pages.write(part.data + chunk, bytes, part.file_offset + chunk))
          file.write_at(part.data + chunk, bytes, part.file_offset + chunk);
        hash.add(part.data + chunk, bytes);
        progress.bytes += bytes;
      }
      blocks.push_back({part.dataset, part.begin + block, end - block, hash.value()});
    }
  return blocks;
}

}  // namespace levin::detail
