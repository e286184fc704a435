#pragma once
#include <cstdint>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// A prediction of this rank: the rows of one batch, and the samples they belong to.
struct Prediction {
  std::vector<int64_t> indices;
  Tensor rows;
  int64_t dataloader_idx = 0;
};

}  // namespace levin
