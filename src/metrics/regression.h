#pragma once
#include <ATen/ops/sub.h>

#include <string>

#include "levin/core/tensor.h"

namespace levin::detail {

/// predictions - targets in float64. UsageError where the shapes differ.
Tensor differences(const std::string& metric, const Tensor& predictions, const Tensor& targets);
/// Of a state of counts and a sum of terms.
Tensor mean_of(const Tensor& sum, const Tensor& count);

}  // namespace levin::detail
