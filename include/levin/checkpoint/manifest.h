#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/// What manifest.json says of a checkpoint: where in its training it was made, and checksums (xxh3, 64 bits) of every byte of its file.
/// It is JSON whose last member is the checksum of all that is before it.
struct Manifest {
  static constexpr int64_t newest_version = 1;
  static constexpr const char* file_name = "manifest.json";

  struct Block {
    uint64_t bytes = 0, hash = 0;
    friend bool operator==(const Block&, const Block&) = default;
  };
  /// A tensor's or a text's place in the file, and its blocks, one behind the other.
  struct Dataset {
    std::string name;
    uint64_t offset = 0, bytes = 0;
    std::vector<Block> blocks;
    friend bool operator==(const Dataset&, const Dataset&) = default;
  };

  int64_t step = 0, epoch = 0;
  double saved_at = 0;                        ///< seconds since 1970
  std::map<std::string, std::string> fields;  ///< the caller's own

  std::string file = "state.h5";
  uint64_t file_bytes = 0;
  uint64_t metadata_hash = 0;     ///< of all bytes that are in no data set, in the order of the file
  std::vector<Dataset> datasets;  ///< in the order of the file

  std::string to_text() const;
  /// DataError, which names `path`, for a text that is damaged, of a later version, not of this form, or that names a file outside of its
  /// folder, or data sets that overlap or leave their file.
  static Manifest from_text(std::string_view text, const std::filesystem::path& path);
  /// The manifest in a checkpoint's folder. DataError where there is none that can be used.
  static Manifest read(const std::filesystem::path& checkpoint);

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

}  // namespace levin
