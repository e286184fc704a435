#include "number_forms.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>

#include "levin/core/number_text.h"

namespace levin::report {

std::string short_number(double value) { return value_text(value, 4); }

std::string duration_text(double seconds) {
  if (seconds < 10) return short_number(seconds) + " s";
  const auto all = static_cast<int64_t>(std::llround(seconds));
  const int64_t hours = all / 3600, minutes = all / 60 % 60;
  if (hours > 0) return fmt::format("{}:{:02}:{:02} h", hours, minutes, all % 60);
  return minutes > 0 ? fmt::format("{}:{:02} min", minutes, all % 60) : fmt::format("{} s", all);
}

ByteUnit byte_unit(double bytes) {
  static constexpr std::array<ByteUnit, 4> units{{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}}};
  for (const auto& unit : units)
    if (std::abs(bytes) >= unit.bytes) return unit;
  return {1, "B"};
}

std::string bytes_form(double bytes) {
  const auto unit = byte_unit(bytes);
  return unit.bytes == 1 ? short_number(bytes) + " B" : fmt::format("{} {}", value_text(bytes / unit.bytes, 3), unit.name);
}

}  // namespace levin::report
