#pragma once
#include <chrono>

namespace levin::detail {

/// What a training spends its time on.
enum class TimePart { step, data, validation, checkpoint };

/// Adds the time of its scope to a part of this thread's time. Scopes inside of others count once, as the outermost one's part.
class PartTimer {
 public:
  struct Spent {
    std::chrono::nanoseconds time{0};
    std::chrono::nanoseconds waited{0};  ///< of it, in collectives, for other ranks; see WaitTimer
  };

  explicit PartTimer(TimePart part) noexcept;
  ~PartTimer();
  PartTimer(const PartTimer&) = delete;
  PartTimer& operator=(const PartTimer&) = delete;

  /// What this thread has spent so far.
  static Spent spent(TimePart part) noexcept;

 private:
  TimePart part_;
  bool outermost_;
  std::chrono::steady_clock::time_point began_{};
  std::chrono::nanoseconds waited_before_{0};
};

}  // namespace levin::detail
