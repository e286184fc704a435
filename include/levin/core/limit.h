#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace levin {

/// A number of batches, or a fraction of all: an integer is a count, a number with a point a fraction. 1 is one batch, 1.0 all of them.
struct Limit {
  std::variant<int64_t, double> value = 1.0;

  static Limit batches(int64_t count) { return {count}; }
  static Limit fraction(double part) { return {part}; }
  bool is_fraction() const noexcept { return value.index() == 1; }
  /// The number of batches that this allows of `total`; a fraction is rounded down.
  int64_t of(int64_t total) const noexcept;

  static constexpr std::string_view format = "a number of batches (10) or a fraction of all (0.25; 1.0 is all)";
  /// Nothing for a negative count, or a fraction outside of 0.0 to 1.0.
  static std::optional<Limit> from_text(std::string_view text);
  std::string to_text() const;
  double number() const noexcept { return is_fraction() ? std::get<double>(value) : static_cast<double>(std::get<int64_t>(value)); }
  friend bool operator==(const Limit&, const Limit&) = default;
};

}  // namespace levin
