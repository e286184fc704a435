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

/// What stands before the bytes of a safetensors file: a length (64 bits, little-endian) and so many bytes of JSON.
struct SafetensorsHeader {
  static constexpr uint64_t length_bytes = 8, most_bytes = 100'000'000;

  std::vector<TensorEntry> tensors;  ///< in the order of their bytes
  std::vector<uint64_t> offsets;     ///< of each, from the header's end
  std::map<std::string, std::string> metadata;

  /// DataError, which names `path`, for a text that is not of this form, or in which the tensors are not exactly `data_bytes`, one behind
  /// the other.
  static SafetensorsHeader from_text(std::string_view text, uint64_t data_bytes, const std::filesystem::path& path);
  /// The same with places for the tensors, which are sorted so that every one is aligned. UsageError for what the format does not hold.
  static SafetensorsHeader for_tensors(std::vector<TensorEntry> tensors, std::map<std::string, std::string> metadata);
  /// Filled up with spaces, so that the bytes behind it are aligned.
  std::string to_text() const;
};

}  // namespace levin::detail
