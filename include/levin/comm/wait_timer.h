#pragma once
#include <chrono>

namespace levin {

/// Adds the time of its scope to that which this thread has waited for other ranks. Scopes inside of others count once.
class WaitTimer {
 public:
  WaitTimer() noexcept;
  ~WaitTimer();
  WaitTimer(const WaitTimer&) = delete;
  WaitTimer& operator=(const WaitTimer&) = delete;

  /// What this thread has waited so far in the collectives of communicators on CPUs.
  static std::chrono::nanoseconds waited() noexcept;

 private:
  std::chrono::steady_clock::time_point began_{};
  bool outermost_;
};

}  // namespace levin
