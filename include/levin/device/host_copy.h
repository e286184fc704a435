#pragma once
#include <memory>

#include "levin/core/tensor.h"

namespace levin {

/// A small tensor on its way from a device to host memory. The host waits for nothing until it reads it: what a step computes on a device
/// can be read a step later, when the device has long been done with it. Copies of it share the transfer.
class HostCopy {
 public:
  /// Queues the copy on the device's current stream, after the work that computes `values`. Of a tensor in host memory it is a clone.
  explicit HostCopy(const Tensor& values);
  /// The values, in host memory. Waits for the copy, not for the work that was queued after it.
  const Tensor& get() const;

 private:
  struct Transfer;
  std::shared_ptr<Transfer> transfer_;
};

}  // namespace levin
