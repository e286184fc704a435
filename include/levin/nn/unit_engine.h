#pragma once
#include <functional>

#include "levin/core/tensor.h"

namespace levin {

/// The parallel engine's callbacks around a unit's compute.
class UnitEngine {
 public:
  /// Calls its argument for every tensor of a unit's inputs or outputs.
  using Tensors = std::function<void(const std::function<void(const Tensor&)>&)>;

  virtual ~UnitEngine() = default;
  /// Before compute: the unit's parameters must be there afterwards.
  virtual void enter(const Tensors& for_each_input) = 0;
  /// After compute.
  virtual void leave(const Tensors& for_each_output) = 0;
  /// A forward without a graph is over, and its computation will be repeated in the backward: enter, compute, backward, repeated.
  virtual void will_repeat() {}
  virtual void repeated() {}
};

}  // namespace levin
