#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace levin {

class Session;

/// Durations of this rank's training steps, from the reading of the first batch to the update, without the waits for other ranks. On a
/// device these are the host's times.
class StepTimes {
 public:
  /// The step begins or resumes; nothing while it runs.
  void resume() noexcept;
  /// What follows belongs to no step, as a validation; nothing while none runs.
  void pause() noexcept;
  void end_step();
  /// The median of the steps since the last take, in seconds; 0 without one. Forgets them.
  double take();

 private:
  static constexpr size_t most = 512;
  std::vector<double> seconds_;  // of the last steps, as a ring
  size_t next_ = 0;
  bool running_ = false;
  std::chrono::steady_clock::time_point began_{};
  std::chrono::nanoseconds waited_{0}, step_{0};
};

struct SlowRank {
  int rank = 0;
  double seconds = 0;  ///< per step
  double others = 0;   ///< mean of the other ranks
};

/// The ranks that are slower than the mean of the others by more than 10 % and by more than one standard deviation of the others, slowest
/// first. `seconds`: per step, by rank; 0: the rank has no time, and takes no part.
std::vector<SlowRank> find_slow_ranks(std::span<const double> seconds);

/// Names slow ranks in rank 0's log.
class StragglerReport {
 public:
  /// Compares the ranks' times, and forgets them. Collective.
  void compare(Session& session, StepTimes& times);

 private:
  static constexpr int comparisons_of_silence = 30;  // about ranks that were named already
  std::vector<int> named_;
  int silent_ = 0;
};

}  // namespace levin
