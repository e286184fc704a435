#include "verify.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "agreement.h"
#include "file_layout.h"
#include "levin/comm/communicator.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

constexpr uint64_t chunk_bytes = 128 << 10;  // stays in a core's cache until it is hashed

class Hasher {
 public:
  explicit Hasher(const File& file) : file_(file), memory_(chunk_bytes) {}

  void reset() { XXH3_64bits_reset(state_.get()); }
  void add(uint64_t begin, uint64_t end) {
    for (; begin < end; begin += chunk_bytes) {
      const uint64_t bytes = std::min(chunk_bytes, end - begin);
      file_.read_at(memory_.data(), bytes, begin);
      XXH3_64bits_update(state_.get(), memory_.data(), bytes);
    }
  }
  uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  const File& file_;
  std::vector<std::byte> memory_;
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_{XXH3_createState(), XXH3_freeState};
};

[[noreturn]] void damaged(const File& file, const std::string& what, uint64_t begin, uint64_t end) {
  throw DataError(
      fmt::format("{}: {} is damaged: bytes [{}, {}) of the file do not match their checksum", file.path().string(), what, begin, end),
      "use another checkpoint", "checkpoint");
}

}  // namespace

void verify(const File& file, const Manifest& manifest, Communicator* communicator) {
  const auto rank = static_cast<uint64_t>(communicator ? communicator->rank() : 0),
             ranks = static_cast<uint64_t>(communicator ? communicator->size() : 1);
  together(communicator, [&] {
    if (file.size() != manifest.file_bytes)
      throw DataError(fmt::format("{} has {} bytes, and its manifest says {}: it is cut off or another file", file.path().string(),
                                  file.size(), manifest.file_bytes),
                      "use another checkpoint", "checkpoint");
  });
  together(communicator, [&] {
    Hasher hasher(file);
    if (rank == 0) {
      std::vector<FileLayout::Place> places;
      for (const auto& set : manifest.datasets) places.push_back({set.offset, set.bytes});
      hasher.reset();
      for (const auto& [begin, end] : gaps_between(places, manifest.file_bytes)) hasher.add(begin, end);
      if (hasher.value() != manifest.metadata_hash) damaged(file, "metadata", 0, manifest.file_bytes);
    }
    uint64_t all_bytes = 0, seen_bytes = 0;
    for (const auto& set : manifest.datasets) all_bytes += set.bytes;
    for (const auto& set : manifest.datasets) {
      uint64_t begin = set.offset;
      for (const auto& block : set.blocks) {
        // Rank r's are the blocks whose middle is in the r-th part of the bytes.
        const auto middle = static_cast<unsigned __int128>(seen_bytes) + block.bytes / 2;
        seen_bytes += block.bytes;
        if (static_cast<uint64_t>(middle * ranks / all_bytes) == rank) {
          hasher.reset();
          hasher.add(begin, begin + block.bytes);
          if (hasher.value() != block.hash) damaged(file, shown(set.name), begin, begin + block.bytes);
        }
        begin += block.bytes;
      }
    }
  });
}

}  // namespace levin::detail
