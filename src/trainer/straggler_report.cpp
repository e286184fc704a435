#include "straggler_report.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/comm/wait_timer.h"
#include "levin/session/session.h"

namespace levin {

void StepTimes::resume() noexcept {
  if (std::exchange(running_, true)) return;
  began_ = std::chrono::steady_clock::now();
  waited_ = WaitTimer::waited();
}

void StepTimes::pause() noexcept {
  if (!std::exchange(running_, false)) return;
  step_ += std::chrono::steady_clock::now() - began_ - (WaitTimer::waited() - waited_);
}

void StepTimes::end_step() {
  pause();
  const double seconds = std::chrono::duration<double>(std::exchange(step_, std::chrono::nanoseconds(0))).count();
  if (seconds_.size() < most)
    seconds_.push_back(seconds);
  else
    seconds_[next_] = seconds;
  next_ = (next_ + 1) % most;
}

double StepTimes::take() {
  if (seconds_.empty()) return 0;
  const auto middle = seconds_.begin() + static_cast<std::ptrdiff_t>(seconds_.size() / 2);
  std::nth_element(seconds_.begin(), middle, seconds_.end());
  const double median = *middle;
  seconds_.clear();
  next_ = 0;
  return median;
}

// Without the rank itself: of two ranks the slower one is exactly one standard deviation above the mean of both.
std::vector<SlowRank> find_slow_ranks(std::span<const double> seconds) {
  constexpr double least_excess = 1.1;
  double count = 0, sum = 0, squares = 0;
  for (const double time : seconds) {
    if (!(time > 0)) continue;
    count++;
    sum += time;
    squares += time * time;
  }
  std::vector<SlowRank> slow;
  for (size_t rank = 0; rank < seconds.size() && count > 1; rank++) {
    const double time = seconds[rank];
    if (!(time > 0)) continue;
    const double mean = (sum - time) / (count - 1);
    const double variance = (squares - time * time) / (count - 1) - mean * mean;
    if (time > least_excess * mean && time - mean > std::sqrt(std::max(0.0, variance)))
      slow.push_back({static_cast<int>(rank), time, mean});
  }
  std::stable_sort(slow.begin(), slow.end(), [](const SlowRank& a, const SlowRank& b) { return a.seconds > b.seconds; });
  return slow;
}

void StragglerReport::compare(Session& session, StepTimes& times) {
  constexpr size_t most_named = 8;
  const auto seconds = all_gather_value(session.communicator(), times.take());
  const auto slow = find_slow_ranks(seconds);
  std::vector<int> ranks;
  ranks.reserve(slow.size());
  for (const auto& straggler : slow) ranks.push_back(straggler.rank);
  std::sort(ranks.begin(), ranks.end());
  const bool known = ranks == named_ && ++silent_ < comparisons_of_silence;
  if (ranks.empty() || known) return;
  named_ = ranks;
  silent_ = 0;
  if (session.rank() != 0) return;
  std::string text;
  for (size_t i = 0; i < std::min(slow.size(), most_named); i++) {
    const auto& [rank, time, others] = slow[i];
    text += fmt::format("{}rank {} on {} needs {:.3g} s per step, {:.2f} times the mean of the others", i == 0 ? "" : "; ", rank,
                        session.topology().locations()[static_cast<size_t>(rank)].host, time, time / others);
  }
  if (slow.size() > most_named) text += fmt::format("; and {} more", slow.size() - most_named);
  session.runtime().log().warning("[trainer] slow ranks, without the time that they wait for others: {}", text);
}

}  // namespace levin
