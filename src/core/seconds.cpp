#include "levin/core/seconds.h"

#include <fmt/core.h>

#include <array>
#include <cmath>
#include <vector>

#include "levin/core/number_text.h"

namespace levin {
namespace {

bool is_digits(std::string_view text) { return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos; }

// [D-]HH:MM:SS or DD:HH:MM:SS. MM:SS is refused: Slurm and people disagree on what 01:30 is.
std::optional<Seconds> from_clock(std::string_view text) {
  std::vector<std::string_view> parts;
  if (const auto dash = text.find('-'); dash != std::string_view::npos) {
    parts.push_back(text.substr(0, dash));
    text.remove_prefix(dash + 1);
  }
  const bool slurm_days = !parts.empty();
  for (;;) {
    const auto colon = text.find(':');
    parts.push_back(text.substr(0, colon));
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  if (parts.size() != 4 && (slurm_days || parts.size() != 3)) return std::nullopt;
  double seconds = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto number = is_digits(parts[i]) && parts[i].size() <= 9 ? parse_number<int64_t>(parts[i]) : std::nullopt;
    if (!number || (i > 0 && i + 2 < parts.size() && *number >= 24) || (i + 2 >= parts.size() && *number >= 60)) return std::nullopt;
    seconds = seconds * (i + 3 == parts.size() ? 24 : 60) + static_cast<double>(*number);
  }
  return Seconds{seconds};
}

}  // namespace

std::optional<Seconds> Seconds::from_text(std::string_view text) {
  if (text.find(':') != std::string_view::npos) return from_clock(text);
  static constexpr std::array<std::pair<std::string_view, double>, 9> units{
      {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"min", 60}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"sec", 1}}};
  const size_t end = text.find_last_not_of("abcdefghijklmnopqrstuvwxyz");
  if (end == std::string_view::npos) return std::nullopt;
  const auto unit = text.substr(end + 1);
  auto digits = text.substr(0, end + 1);
  if (!unit.empty() && digits.ends_with(' ')) digits.remove_suffix(1);
  const auto number = parse_number<double>(digits);
  if (!number || !std::isfinite(*number)) return std::nullopt;
  for (const auto& [name, factor] : units)
    if (name == unit) return std::isfinite(*number * factor) ? std::optional(Seconds{*number * factor}) : std::nullopt;
  return std::nullopt;
}

std::string Seconds::to_text() const {
  if (value < 60 || value > 1e9 || value != std::floor(value)) return fmt::format("{} s", value);
  const auto whole = static_cast<int64_t>(value);
  const auto clock = fmt::format("{:02}:{:02}:{:02}", whole / 3600 % 24, whole / 60 % 60, whole % 60);
  return whole < 86400 ? clock : fmt::format("{}-{}", whole / 86400, clock);
}

}  // namespace levin
