#pragma once
#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace levin {

/// A duration in a config: "30", "30 s", "500 ms", "10 min", "2 h", "1 d", "01:30:00", "2-00:00:00" (Slurm), "02:00:00:00" (Lightning).
struct Seconds {
  double value = 0;

  static constexpr std::string_view format = "a duration (30 s, 10 min, 2 h, 01:30:00 or 2-00:00:00)";
  /// Nothing for text that is not a finite duration.
  static std::optional<Seconds> from_text(std::string_view text);
  /// Text that reads as the same value.
  std::string to_text() const;
  double number() const noexcept { return value; }
  friend auto operator<=>(const Seconds&, const Seconds&) = default;
};

}  // namespace levin
