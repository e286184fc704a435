#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levin::detail {

class File;

/// The header of a safetensors file: its length (64 bits, little-endian), and JSON.
struct SafetensorsHeader {
  struct Entry {
    std::string name;
    c10::ScalarType dtype;
    std::vector<int64_t> shape;
    uint64_t offset = 0;  ///< in bytes from the end of the header
    uint64_t bytes = 0;
  };

  static constexpr uint64_t length_bytes = 8, most_bytes = 100'000'000;
  /// Remedy for a file that Python's safetensors refuses, too.
  static constexpr auto corrupt = "copy or download the file again";

  std::vector<Entry> tensors;  ///< by offset
  std::map<std::string, std::string> metadata;

  /// Whether tensors of this dtype can be read. Others (fp8, complex) are only listed.
  static bool is_loaded(c10::ScalarType dtype);
  /// F8_E4M3 and F8_E5M2, which are read for a caller who converts them.
  static bool is_convertible_fp8(c10::ScalarType dtype);
  /// The JSON of a file. DataError, with `tag` and the path, for a length that does not fit the file, and for other formats of weights.
  static std::string read_text(const File& file, const char* tag);
  /// DataError, with `path`, for an invalid header, or if the tensors do not fill exactly `data_bytes` without gaps.
  static SafetensorsHeader from_text(std::string_view text, uint64_t data_bytes, const std::filesystem::path& path, const char* tag);
  /// A header for the tensors, sorted so that each is aligned; their offsets and bytes are set here. UsageError, with `tag`, for names and
  /// dtypes that the format does not support.
  static SafetensorsHeader for_tensors(std::vector<Entry> tensors, std::map<std::string, std::string> metadata, const char* tag);
  /// The JSON, padded with spaces to align the data.
  std::string to_text() const;
};

}  // namespace levin::detail
