#include "levin/comm/wait_timer.h"

#include <utility>

namespace levin {
namespace {

struct ThreadWaits {
  std::chrono::nanoseconds total{0};
  bool timed = false;
};
thread_local ThreadWaits thread_waits;

}  // namespace

WaitTimer::WaitTimer() noexcept : outermost_(!std::exchange(thread_waits.timed, true)) {
  if (outermost_) began_ = std::chrono::steady_clock::now();
}

WaitTimer::~WaitTimer() {
  if (!outermost_) return;
  thread_waits.timed = false;
  thread_waits.total += std::chrono::steady_clock::now() - began_;
}

std::chrono::nanoseconds WaitTimer::waited() noexcept { return thread_waits.total; }

}  // namespace levin
