#pragma once
#include <vector>

#include "levin/core/tensor.h"

namespace levin::detail {

struct HistogramBucket {
  double left, right, count;
};

/// Of a contiguous tensor on the CPU: 30 buckets of equal width from the least to the largest value, both included; NaN and infinities are
/// left out. As in TensorBoard's own writer: no buckets without values; where all are equal, so are all bounds, and the last bucket has the
/// count.
std::vector<HistogramBucket> histogram_of(const Tensor& values);

}  // namespace levin::detail
