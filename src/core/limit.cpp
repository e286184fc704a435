#include "levin/core/limit.h"

#include <algorithm>
#include <cmath>

#include "levin/core/number_text.h"

namespace levin {

int64_t Limit::of(int64_t total) const noexcept {
  if (!is_fraction()) return std::min(std::get<int64_t>(value), total);
  return static_cast<int64_t>(std::floor(std::get<double>(value) * static_cast<double>(total)));
}

std::optional<Limit> Limit::from_text(std::string_view text) {
  if (const auto count = parse_number<int64_t>(text)) return *count >= 0 ? std::optional(batches(*count)) : std::nullopt;
  const auto part = parse_number<double>(text);
  if (!part || !(*part >= 0) || *part > 1) return std::nullopt;
  return fraction(*part);
}

std::string Limit::to_text() const {
  return is_fraction() ? number_text(std::get<double>(value)) : std::to_string(std::get<int64_t>(value));
}

}  // namespace levin
