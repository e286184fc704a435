#pragma once
#include <cstdint>
#include <functional>

namespace levin {

/// Calls that a thread makes in their order, so that what they write never delays a step.
class CallQueue {
 public:
  virtual ~CallQueue() = default;
  /// Returns at once. `bytes`: what the call holds until it is made. Where too much waits already, the call is dropped, with a warning; an
  /// exception of a call is a warning, too.
  virtual void post(std::function<void()> call, int64_t bytes) = 0;
};

}  // namespace levin
