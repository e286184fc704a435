#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// A second base of a torch::optim::Optimizer of one's own: what it remembers, so that checkpoints keep it.
class OptimizerMemory {
 public:
  virtual ~OptimizerMemory() = default;
  /// The state of a parameter, by name: contiguous tensors of the parameter's shape, the same names in every run, and there before
  /// the first step, too. Checkpoints are written from them and read into them. None for one that remembers nothing.
  virtual std::vector<std::pair<std::string, Tensor>> state_of(const Tensor& parameter) = 0;
  /// Updates so far, where it counts them.
  virtual int64_t steps() const { return 0; }
  virtual void set_steps(int64_t /*steps*/) {}
};

}  // namespace levin
