#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/core/hyperslab.h"

namespace levin {

/// The contents of manifest.json: the checkpoint's place in the training, and checksums (xxh3, 64 bits) of every byte of its files, one or
/// one per group of nodes. The last member of the JSON is the checksum of everything before it.
struct Manifest {
  /// Version 1: one file. 2: several files with ranges of flattened tensors. 3: any number of files, ranges and boxes. All versions are
  /// read, 3 is written.
  static constexpr int64_t newest_version = 3;
  static constexpr size_t most_files = 4096;  ///< every reading rank opens all of them
  static constexpr const char* file_name = "manifest.json";

  struct Block {
    uint64_t bytes = 0, hash = 0;
    friend bool operator==(const Block&, const Block&) = default;
  };
  struct File {
    std::string name;
    uint64_t bytes = 0;
    uint64_t metadata_hash = 0;  ///< hash of all bytes outside of data sets, in file order
    friend bool operator==(const File&, const File&) = default;
  };
  /// The elements of a data set that holds part of a tensor: the merged ranges of the ranks that write one file, or one rank's box. Each
  /// box has its own data set, so that its rank writes it as contiguous blocks, each with one checksum; in a data set of the whole tensor
  /// every row of the box would need its own write and checksum.
  struct Part {
    Hyperslab slab;
    std::vector<int64_t> shape;  ///< of the whole tensor
    friend bool operator==(const Part&, const Part&) = default;
  };
  /// Location and blocks of a tensor, a part of a tensor, or a text. The blocks are contiguous.
  struct Dataset {
    std::string name;
    uint64_t offset = 0, bytes = 0;
    std::vector<Block> blocks;
    size_t file = 0;  ///< index into files
    std::optional<Part> part = {};
    /// Path in the HDF5 file: NAME of a whole tensor or text, NAME/BEGIN-END of a range, NAME/BEGIN-END,BEGIN-END of a box.
    std::string stored_name() const;
    friend bool operator==(const Dataset&, const Dataset&) = default;
  };

  int64_t version = newest_version;  ///< version of the parsed text
  int64_t step = 0, epoch = 0;
  double saved_at = 0;                        ///< seconds since 1970
  std::map<std::string, std::string> fields;  ///< user fields

  std::vector<File> files = {{state_file(0, 1)}};
  std::vector<Dataset> datasets;  ///< by file, then by offset

  /// "state.h5" for one file, "state.2.h5" for several.
  static std::string state_file(size_t number, size_t files);
  /// Total size of all files.
  uint64_t file_bytes() const;

  std::string to_text() const;
  /// DataError, with `path`, if the text is corrupt, malformed or of a newer version; names a file outside of its folder; has data sets
  /// that overlap or exceed their file; or has parts that exceed their tensor or do not cover it exactly once.
  static Manifest from_text(std::string_view text, const std::filesystem::path& path);
  /// The manifest of a checkpoint directory. DataError if it is missing or invalid.
  static Manifest read(const std::filesystem::path& checkpoint);
  /// The unparsed text of a checkpoint's manifest.
  static std::string read_text(const std::filesystem::path& checkpoint);

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

}  // namespace levin
