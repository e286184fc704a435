#pragma once
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace levin {

/// A size in a config: "4096", "64 MiB" (powers of 1024), "1.5 GB" (powers of 1000).
struct Bytes {
  int64_t value = 0;

  static constexpr std::string_view format = "a size (4096, 64 MiB or 1.5 GB)";
  /// Nothing for text that is not a size, or one that is negative or above 2^63 - 1; parts of a byte are rounded.
  static std::optional<Bytes> from_text(std::string_view text);
  /// Text that reads as the same value.
  std::string to_text() const;
  double number() const noexcept { return static_cast<double>(value); }
  friend auto operator<=>(const Bytes&, const Bytes&) = default;
};

}  // namespace levin
