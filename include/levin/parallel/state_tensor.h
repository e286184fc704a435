#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "levin/core/hyperslab.h"
#include "levin/core/tensor.h"

namespace levin {

/// The use of a state's tensors. To save: those of all ranks cover every element once. To load: every copy that there is
/// anywhere is covered once.
enum class StateUse { save, load };

/// A tensor of a training's state, and this rank's parts of it.
struct StateTensor {
  struct Part {
    Hyperslab slab;  ///< in the whole tensor
    Tensor values;   ///< of the slab's extent; the state itself, not a copy
  };

  std::string name;  ///< "model/conv1.weight", "optimizer/adamw/exp_avg/conv1.weight"
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<int64_t> shape;  ///< of the whole tensor
  std::vector<Part> parts = {};
};

}  // namespace levin
