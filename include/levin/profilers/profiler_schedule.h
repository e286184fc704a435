#pragma once
#include <cstdint>

namespace levin {

enum class ProfilerAction { none, warmup, record, record_and_save };

/// Which steps a trace has: torch.profiler.schedule. After skip_first steps come cycles of `wait` steps without a profiler, `warmup` steps
/// that start it, and `active` steps that are recorded; `repeat` of them, 0: until the end of the run.
struct ProfilerSchedule {
  int64_t skip_first = 0, wait = 1, warmup = 1, active = 3, repeat = 1;

  ProfilerAction action(int64_t step) const noexcept {
    if (step < skip_first) return ProfilerAction::none;
    step -= skip_first;
    const int64_t cycle = wait + warmup + active;
    if (repeat > 0 && step / cycle >= repeat) return ProfilerAction::none;
    const int64_t position = step % cycle;
    if (position < wait) return ProfilerAction::none;
    if (position < wait + warmup) return ProfilerAction::warmup;
    return position < cycle - 1 ? ProfilerAction::record : ProfilerAction::record_and_save;
  }
};

}  // namespace levin
