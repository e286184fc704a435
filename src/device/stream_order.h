#pragma once
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace levin::detail {

/// What is queued on `later` from now on begins after the work that is queued on `earlier`. The host waits for neither.
inline void wait_for(const c10::Stream& later, const c10::Stream& earlier) {
  c10::Event done(earlier.device_type());
  done.record(earlier);
  done.block(later);
}

}  // namespace levin::detail
