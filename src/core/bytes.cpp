#include "levin/core/bytes.h"

#include <fmt/core.h>

#include <array>
#include <cmath>

#include "levin/core/number_text.h"

namespace levin {
namespace {

struct Unit {
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<Unit, 11> units{{{"TiB", 1LL << 40},
                                      {"GiB", 1LL << 30},
                                      {"MiB", 1LL << 20},
                                      {"KiB", 1LL << 10},
                                      {"TB", 1'000'000'000'000},
                                      {"GB", 1'000'000'000},
                                      {"MB", 1'000'000},
                                      {"kB", 1'000},
                                      {"KB", 1'000},
                                      {"B", 1},
                                      {"", 1}}};

}  // namespace

std::optional<Bytes> Bytes::from_text(std::string_view text) {
  const size_t end = text.find_last_not_of("BGKMTik");
  if (end == std::string_view::npos) return std::nullopt;
  const auto name = text.substr(end + 1);
  auto digits = text.substr(0, end + 1);
  if (!name.empty() && digits.ends_with(' ')) digits.remove_suffix(1);
  for (const auto& unit : units) {
    if (unit.name != name) continue;
    if (const auto whole = parse_number<int64_t>(digits)) {
      int64_t bytes = 0;
      if (*whole < 0 || __builtin_mul_overflow(*whole, unit.bytes, &bytes)) return std::nullopt;
      return Bytes{bytes};
    }
    const auto part = parse_number<double>(digits);
    if (!part || !std::isfinite(*part) || *part < 0) return std::nullopt;
    const double bytes = *part * static_cast<double>(unit.bytes);
    if (bytes >= 9.2e18) return std::nullopt;
    return Bytes{std::llround(bytes)};
  }
  return std::nullopt;
}

std::string Bytes::to_text() const {
  for (const auto& unit : units)
    if (unit.bytes > 1 && value != 0 && value % unit.bytes == 0) return fmt::format("{} {}", value / unit.bytes, unit.name);
  return fmt::format("{}", value);
}

}  // namespace levin
