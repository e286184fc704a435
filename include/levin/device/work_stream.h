#pragma once
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <optional>

namespace levin {

/// A device's work of this thread goes to a stream from LibTorch's pool for as long as this lives, instead of the default stream, which
/// waits for all others and cannot be captured in a graph. The stream begins after the work that is queued on the current one, which
/// continues after it. Nothing on a CPU.
class WorkStream {
 public:
  explicit WorkStream(c10::Device device);
  ~WorkStream();
  WorkStream(const WorkStream&) = delete;
  WorkStream& operator=(const WorkStream&) = delete;

 private:
  std::optional<c10::Stream> stream_, before_;
};

}  // namespace levin
