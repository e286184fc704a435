#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "levin/checkpoint/checkpoint_state.h"

namespace levin::detail {

/// The header of a safetensors file: its length (64 bits, little-endian), and JSON.
struct SafetensorsHeader {
  static constexpr uint64_t length_bytes = 8, most_bytes = 100'000'000;
  /// Remedy for a file that Python's safetensors refuses, too.
  static constexpr auto corrupt = "copy or download the file again";

  std::vector<TensorEntry> tensors;  ///< by offset
  std::vector<uint64_t> offsets;     ///< by tensor, in bytes from the end of the header
  std::map<std::string, std::string> metadata;

  /// Whether tensors of this dtype can be read. Others (fp8, complex) are only listed.
  static bool is_loaded(c10::ScalarType dtype);
  /// DataError, with `path`, for an invalid header, or if the tensors do not fill exactly `data_bytes` without gaps.
  static SafetensorsHeader from_text(std::string_view text, uint64_t data_bytes, const std::filesystem::path& path);
  /// A header for the tensors, sorted so that each is aligned. UsageError for names and dtypes that the format does not support.
  static SafetensorsHeader for_tensors(std::vector<TensorEntry> tensors, std::map<std::string, std::string> metadata);
  /// The JSON, padded with spaces to align the data.
  std::string to_text() const;
};

}  // namespace levin::detail
