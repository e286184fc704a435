#pragma once
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <optional>

namespace levin {

/// While this lives, a device's work of this thread goes to a stream from LibTorch's pool. The default stream waits for blocking streams of
/// other libraries, and no graph can capture it. The stream begins after the work that is queued on the current stream, which resumes
/// after it. No effect on a CPU.
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
