#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "levin/core/number_text.h"

namespace levin {

/// A number that a program can also choose by itself: `devices: auto`, `devices: 4`.
struct AutoCount {
  std::optional<int64_t> value;  ///< nothing: auto

  static constexpr std::string_view format = "auto or an integer";
  static std::optional<AutoCount> from_text(std::string_view text) {
    if (text == "auto") return AutoCount{};
    const auto number = parse_number<int64_t>(text);
    return number ? std::optional(AutoCount{number}) : std::nullopt;
  }
  std::string to_text() const { return value ? std::to_string(*value) : "auto"; }
  /// What ranges are asked of; auto is in every range.
  std::optional<long double> number() const noexcept { return value; }
  friend bool operator==(const AutoCount&, const AutoCount&) = default;
};

}  // namespace levin
