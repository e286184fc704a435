#include "verify.h"

#include <fmt/format.h>

#include <vector>

#include "file_layout.h"
#include "hashing_reader.h"
#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

[[noreturn]] void throw_mismatch(const File& file, const std::string& name, uint64_t begin, uint64_t end) {
  throw DataError(fmt::format("{}: {} is corrupt: checksum mismatch in bytes [{}, {}) of the file", file.path().string(), name, begin, end),
                  "use another checkpoint", "checkpoint");
}

void check(const HashingReader& reader, const File& file, const Manifest::Dataset& set, const Manifest::Block& block, uint64_t begin) {
  if (reader.value() != block.hash) throw_mismatch(file, quote(set.name), begin, begin + block.bytes);
}

}  // namespace

void verify(const std::vector<File>& files, const Manifest& manifest, Communicator* communicator,
            const std::function<bool(const std::string& name)>& skip) {
  const auto rank = static_cast<uint64_t>(communicator ? communicator->rank() : 0),
             ranks = static_cast<uint64_t>(communicator ? communicator->size() : 1);
  on_all_ranks(communicator, "checkpoint", [&] {
    for (size_t i = 0; i < files.size(); i++)
      if (files[i].size() != manifest.files[i].bytes)
        throw DataError(fmt::format("{} has {} bytes, its manifest says {}: truncated or replaced", files[i].path().string(),
                                    files[i].size(), manifest.files[i].bytes),
                        "use another checkpoint", "checkpoint");
  });
  on_all_ranks(communicator, "checkpoint", [&] {
    std::vector<HashingReader> readers(files.begin(), files.end());
    for (size_t i = rank; i < files.size(); i += ranks) {
      std::vector<FileLayout::Extent> extents;
      for (const auto& set : manifest.datasets)
        if (set.file == i) extents.push_back({set.offset, set.bytes});
      auto& reader = readers[i];
      for (const auto& [begin, end] : gaps_between(extents, manifest.files[i].bytes)) reader.add(begin, end);
      if (reader.value() != manifest.files[i].metadata_hash) throw_mismatch(files[i], "metadata", 0, manifest.files[i].bytes);
    }
    std::vector<const Manifest::Dataset*> sets;
    uint64_t all_bytes = 0, previous_bytes = 0;
    for (const auto& set : manifest.datasets)
      if (!skip(set.name)) sets.push_back(&set), all_bytes += set.bytes;
    for (const auto* set : sets) {
      const auto& file = files[set->file];
      auto& reader = readers[set->file];
      uint64_t begin = set->offset;
      for (const auto& block : set->blocks) {
        // Rank r verifies the blocks whose middle lies in the r-th part of all bytes.
        const auto middle = static_cast<unsigned __int128>(previous_bytes) + block.bytes / 2;
        previous_bytes += block.bytes;
        if (static_cast<uint64_t>(middle * ranks / all_bytes) == rank) {
          reader.reset();
          reader.add(begin, begin + block.bytes);
          check(reader, file, *set, block, begin);
        }
        begin += block.bytes;
      }
    }
  });
}

void read_verified(const File& file, const Manifest::Dataset& set, uint64_t begin, uint64_t end, void* memory) {
  HashingReader reader(file);
  const uint64_t wanted_begin = set.offset + begin, wanted_end = set.offset + end;
  uint64_t block_begin = set.offset;
  for (const auto& block : set.blocks) {
    const uint64_t block_end = block_begin + block.bytes;
    if (block_begin >= wanted_end) break;
    if (block_end > wanted_begin) {
      const uint64_t from = std::max(block_begin, wanted_begin);
      reader.reset();
      reader.add(block_begin, block_end, from, std::min(block_end, wanted_end), static_cast<std::byte*>(memory) + (from - wanted_begin));
      check(reader, file, set, block, block_begin);
    }
    block_begin = block_end;
  }
}

void read_verified(const File& file, const Manifest::Dataset& set, RunCopier runs) {
  HashingReader reader(file);
  uint64_t block_begin = 0;
  for (const auto& block : set.blocks) {
    if (runs.done()) break;
    const uint64_t end = block_begin + block.bytes;
    if (runs.next_begin() < end) {
      reader.reset();
      reader.add_each(set.offset + block_begin, set.offset + end,
                      [&](uint64_t begin, const std::byte* bytes, uint64_t count) { runs.take(begin - set.offset, bytes, count); });
      check(reader, file, set, block, set.offset + block_begin);
    }
    block_begin = end;
  }
}

}  // namespace levin::detail
