#pragma once
#include <cstdint>
#include <string>

#include "levin/core/tensor.h"

namespace levin {

/// A parameter, or a buffer, by name. `tensor` is the model's own, not a copy.
struct NamedParameter {
  std::string name;
  Tensor tensor;
};

/// This rank's shard of a parameter's mean gradient: elements [offset, offset + slice.numel()) of the flattened parameter.
struct GradientSlice {
  std::string name;
  Tensor slice;  ///< [n], the gradient itself, not a copy
  int64_t offset = 0;
};

/// This rank's shard of a parameter: elements [offset, offset + slice.numel()) of the flattened parameter.
struct ParameterSlice {
  std::string name;
  Tensor slice;  ///< [n], the parameter itself, not a copy
  int64_t offset = 0;
};

}  // namespace levin
