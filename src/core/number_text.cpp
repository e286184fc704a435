#include "levin/core/number_text.h"

#include <fmt/core.h>

#include <cmath>

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

std::string number_text(double number) { return text_of(number); }
std::string number_text(float number) { return text_of(number); }

}  // namespace levin
