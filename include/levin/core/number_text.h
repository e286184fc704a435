#pragma once
#include <charconv>
#include <concepts>
#include <optional>
#include <string>
#include <string_view>

namespace levin {

/// The whole of `text` as a number, or nothing: no leading space, no trailing text, nothing that does not fit into T.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// The shortest text that reads as the same number; always with a point, so that 1.0 stays a fraction and YAML 1.1 reads 1.0e-05 as one.
std::string number_text(double number);
std::string number_text(float number);

}  // namespace levin
