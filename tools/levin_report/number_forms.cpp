#include "number_forms.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

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

std::string bytes_form(double bytes) {
  static constexpr std::array<std::pair<double, const char*>, 4> units{{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}}};
  for (const auto& [size, name] : units)
    if (std::abs(bytes) >= size) return fmt::format("{} {}", value_text(bytes / size, 3), name);
  return short_number(bytes) + " B";
}

}  // namespace levin::report
