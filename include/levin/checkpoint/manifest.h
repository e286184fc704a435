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

/// What manifest.json says of a checkpoint: where in its training it was made, and checksums (xxh3, 64 bits) of every byte of its files:
/// one, or one for each group of nodes. It is JSON whose last member is the checksum of all that is before it.
struct Manifest {
  /// 1: one file; 2: several, with ranges of flattened tensors; 3: any number of files, with boxes, too. All are read, 3 is written.
  static constexpr int64_t newest_version = 3;
  static constexpr size_t most_files = 4096;  ///< each is open on every rank that reads
  static constexpr const char* file_name = "manifest.json";

  struct Block {
    uint64_t bytes = 0, hash = 0;
    friend bool operator==(const Block&, const Block&) = default;
  };
  struct File {
    std::string name;
    uint64_t bytes = 0;
    uint64_t metadata_hash = 0;  ///< of all its bytes that are in no data set, in the order of the file
    friend bool operator==(const File&, const File&) = default;
  };
  /// Where a data set has some elements of a tensor and not all: ranges of the ranks of one file, united, or one rank's box. A box has a
  /// data set, so its bytes are written at once, with checksums by the rank that has them; within the whole tensor's data set each of its
  /// rows would be a write and a checksum.
  struct Part {
    Hyperslab slab;
    std::vector<int64_t> shape;  ///< the whole tensor's
    friend bool operator==(const Part&, const Part&) = default;
  };
  /// The place of a tensor, a part of one, or a text, and its blocks, one behind the other.
  struct Dataset {
    std::string name;
    uint64_t offset = 0, bytes = 0;
    std::vector<Block> blocks;
    size_t file = 0;  ///< its number
    std::optional<Part> part = {};
    /// In the file: the name, NAME/BEGIN-END of a range, which has one dimension there, or NAME/BEGIN-END,BEGIN-END of a box.
    std::string stored_name() const;
    friend bool operator==(const Dataset&, const Dataset&) = default;
  };

  int64_t version = newest_version;  ///< of the text that it was read from
  int64_t step = 0, epoch = 0;
  double saved_at = 0;                        ///< seconds since 1970
  std::map<std::string, std::string> fields;  ///< the caller's own

  std::vector<File> files = {{state_file(0, 1)}};
  std::vector<Dataset> datasets;  ///< by file, and in the order of the file

  /// "state.h5", or of several files "state.2.h5".
  static std::string state_file(size_t number, size_t files);
  /// Of all files.
  uint64_t file_bytes() const;

  std::string to_text() const;
  /// DataError, which names `path`, for a text that is damaged, of a later version, not of this form, or that names a file outside of its
  /// folder, data sets that overlap or leave their file, or parts that leave their tensor or are not all of it.
  static Manifest from_text(std::string_view text, const std::filesystem::path& path);
  /// The manifest in a checkpoint's folder. DataError where there is none that can be used.
  static Manifest read(const std::filesystem::path& checkpoint);
  /// Its text, as it is in the file.
  static std::string read_text(const std::filesystem::path& checkpoint);

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

}  // namespace levin
