#pragma once
#include <charconv>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>

namespace levin {

namespace detail {
/// Infinity or NaN as YAML and C write them: inf, .inf, Inf, INF, nan, .nan, NaN, NAN; infinity also with a minus.
std::optional<double> special_number(std::string_view text) noexcept;
}  // namespace detail

/// Parses all of `text` as a T, or returns nothing. The only way in which Levin reads a number from text: options, YAML, environment,
/// file names. Independent of the locale.
///
/// Integers are decimal digits with an optional sign. Floating-point numbers are fixed or scientific (1, 1., .5, 0.5, 1e-3), or special
/// (special_number). One + may stand in front, as YAML allows. Blanks, hexadecimal numbers, digit separators, non-ASCII digits, trailing
/// characters and values outside the range of T (1e999 and 1e-999, too) are refused.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return std::nullopt;
  }
  if constexpr (std::floating_point<T>) {
    if (const auto special = detail::special_number(text)) return static_cast<T>(*special);
    if (text.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return std::nullopt;
  }
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// The shortest text that reads as the same number; always with a point, so that 1.0 stays a fraction and YAML 1.1 reads 1.0e-05 as one.
std::string number_text(double number);
std::string number_text(float number);

/// A measured value for people, tables and logs: the shortest text that reads as the same number, or `digits` significant digits. NaN is
/// nan, whatever its sign; infinities are inf and -inf.
std::string value_text(double value);
std::string value_text(double value, int digits);

}  // namespace levin
