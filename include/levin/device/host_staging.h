#pragma once
#include <cstdint>
#include <memory>

#include "levin/core/tensor.h"

namespace levin {

/// Copies large tensors from a device to pageable host memory, through two pinned buffers on a separate stream: the next part arrives in
/// one while the other is copied out.
class HostStaging {
 public:
  /// `buffer_bytes` of each buffer, allocated with the first read.
  explicit HostStaging(int64_t buffer_bytes = int64_t{32} << 20);
  HostStaging(HostStaging&&) noexcept;
  ~HostStaging();

  /// The values, contiguous in host memory; the tensor itself, where it is. Waits for the work that is queued on the current stream.
  Tensor read(const Tensor& values);

 private:
  struct Buffer;
  struct Device;
  int64_t buffer_bytes_;
  std::unique_ptr<Device> device_;
};

}  // namespace levin
