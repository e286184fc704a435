#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "levin/core/config.h"

namespace levin {

/// A number of batches of every stage, as a smoke test: false, true (one batch) or a number.
struct FastDevRun {
  int64_t batches = 0;

  static constexpr std::string_view format = "true, false, or a number of batches";
  static std::optional<FastDevRun> from_text(std::string_view text);
  std::string to_text() const;
  friend bool operator==(const FastDevRun&, const FastDevRun&) = default;
};

/// How often to validate: a number of batches, a part of an epoch, or, as a time ("00:15:00", "15 min"), when so long has passed since the
/// last validation.
struct CheckInterval {
  std::variant<Limit, Seconds> value = Limit{};

  CheckInterval() = default;
  CheckInterval(Limit limit) : value(limit) {}
  CheckInterval(Seconds seconds) : value(seconds) {}
  const Limit* limit() const noexcept { return std::get_if<Limit>(&value); }
  const Seconds* time() const noexcept { return std::get_if<Seconds>(&value); }

  static constexpr std::string_view format = "a number of batches (100), a part of an epoch (0.25; 1.0 is once), or a time (00:15:00)";
  static std::optional<CheckInterval> from_text(std::string_view text);
  std::string to_text() const;
  friend bool operator==(const CheckInterval&, const CheckInterval&) = default;
};

}  // namespace levin
