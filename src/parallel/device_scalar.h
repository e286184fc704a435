#pragma once
#include <ATen/ops/full.h>

#include "levin/core/tensor.h"

namespace levin {

/// A number that kernels read from the memory of their device: a new value changes no argument of their launches.
class DeviceScalar {
 public:
  explicit DeviceScalar(at::ScalarType dtype) : dtype_(dtype) {}

  /// [], always the same tensor, which has this value from here on in the order of the current stream. The host does not wait.
  const Tensor& set(double value, c10::Device device) {
    if (!tensor_.defined())
      tensor_ = at::full({}, value, at::TensorOptions(dtype_).device(device));
    else if (value != value_)
      tensor_.fill_(value);
    value_ = value;
    return tensor_;
  }

 private:
  at::ScalarType dtype_;
  Tensor tensor_;
  double value_ = 0;
};

}  // namespace levin
