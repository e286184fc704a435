#pragma once
#include <numeric>

#include "../trainer/toy.h"

namespace levin::test {

/// Samples [first, first + count) of the toy's data, as one batch.
inline Batch samples(int64_t first, int64_t count) {
  Batch batch;
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), first);
  ToyData::make(64)->get(indices, batch);
  batch.set_indices(indices);
  return batch;
}

}  // namespace levin::test
