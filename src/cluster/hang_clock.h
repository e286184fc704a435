#pragma once
#include <chrono>
#include <cstdint>

namespace levin::detail {

/// Measures how long a rank is without progress. Called by one thread, about every `tick`.
class HangClock {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr double first_factor = 4;  // before the first batch a job reads its data and starts its libraries

  HangClock(double timeout, std::chrono::milliseconds tick) : timeout_(timeout), longest_gap_(2 * tick + std::chrono::milliseconds(500)) {}

  /// `unbounded`: the rank is in a phase that may take any time. A long gap between two calls, in which the process was stopped or starved,
  /// counts as a short one.
  void observe(Clock::time_point time, uint64_t progress, bool unbounded) noexcept {
    const auto passed = observed_ ? time - before_ : Clock::duration::zero();
    if (!observed_ || progress != progress_ || unbounded)
      idle_ = Clock::duration::zero();
    else
      idle_ += passed < longest_gap_ ? passed : longest_gap_;
    observed_ = true;
    before_ = time;
    progress_ = progress;
  }
  double idle_seconds() const noexcept { return std::chrono::duration<double>(idle_).count(); }
  double limit() const noexcept { return progress_ == 0 ? first_factor * timeout_ : timeout_; }
  bool hangs() const noexcept { return idle_seconds() >= limit(); }
  /// Whether the rank stands still long enough to answer others that hang.
  bool stands_still() const noexcept { return idle_seconds() >= timeout_ / 20; }

 private:
  double timeout_;
  Clock::duration longest_gap_, idle_{0};
  Clock::time_point before_{};
  uint64_t progress_ = 0;
  bool observed_ = false;
};

}  // namespace levin::detail
