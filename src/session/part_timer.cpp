#include "part_timer.h"

#include <array>
#include <cstddef>
#include <utility>

#include "levin/comm/wait_timer.h"

namespace levin::detail {
namespace {

struct ThreadParts {
  std::array<PartTimer::Spent, 4> spent{};
  bool timed = false;
};
thread_local ThreadParts thread_parts;

PartTimer::Spent& spent_on(TimePart part) noexcept { return thread_parts.spent[static_cast<size_t>(part)]; }

}  // namespace

PartTimer::PartTimer(TimePart part) noexcept : part_(part), outermost_(!std::exchange(thread_parts.timed, true)) {
  if (!outermost_) return;
  began_ = std::chrono::steady_clock::now();
  waited_before_ = WaitTimer::waited();
}

PartTimer::~PartTimer() {
  if (!outermost_) return;
  thread_parts.timed = false;
  auto& spent = spent_on(part_);
  spent.time += std::chrono::steady_clock::now() - began_;
  spent.waited += WaitTimer::waited() - waited_before_;
}

PartTimer::Spent PartTimer::spent(TimePart part) noexcept { return spent_on(part); }

}  // namespace levin::detail
