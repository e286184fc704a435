#include "levin/core/number_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin {
namespace {

template <class T>
std::string text_of(T number) {
  if (std::isnan(number)) return ".nan";
  if (std::isinf(number)) return number < 0 ? "-.inf" : ".inf";
  std::string text = fmt::format("{}", number);
  if (text.find('.') == std::string::npos) text.insert(std::min(text.find('e'), text.size()), ".0");
  return text;
}

}  // namespace

std::optional<double> detail::special_number(std::string_view text) noexcept {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.starts_with('.')) text.remove_prefix(1);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (text == "inf" || text == "Inf" || text == "INF") return negative ? -infinity : infinity;
  if (!negative && (text == "nan" || text == "NaN" || text == "NAN")) return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

std::string number_text(double number) { return text_of(number); }
std::string number_text(float number) { return text_of(number); }

std::string value_text(double value) { return std::isnan(value) ? "nan" : fmt::format("{}", value); }
std::string value_text(double value, int digits) { return std::isnan(value) ? "nan" : fmt::format("{:.{}g}", value, digits); }

}  // namespace levin
