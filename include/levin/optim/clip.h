#pragma once
#include <vector>

#include "levin/core/config.h"
#include "levin/core/tensor.h"

namespace levin {

/// Lightning's gradient_clip_algorithm.
enum class ClipAlgorithm { norm, value };
LEVIN_ENUM(ClipAlgorithm, (norm, "norm"), (value, "value"))

/// Sum of the squares of a flat slice in host memory, in fp64.
double squared_norm(const Tensor& slice);
/// The same of several slices of one device together: float64, without dimensions, on that device. Does not synchronize with it.
Tensor squared_norm(const std::vector<Tensor>& slices);
/// The factor that reduces a gradient of norm `total_norm` (a scalar tensor) to a norm of at most `max_norm`, on the same device (as
/// torch.nn.utils.clip_grad_norm_: max_norm / (total_norm + 1e-6), at most 1). 1 for a norm that is NaN.
Tensor clip_factor(const Tensor& total_norm, double max_norm);
/// Multiplies a slice in place by a scalar of the same device. Does not synchronize with it.
void scale_slice(const Tensor& slice, const Tensor& factor);
/// Cuts every element to [-limit, limit], in place.
void clip_by_value(const Tensor& slice, double limit);

}  // namespace levin
