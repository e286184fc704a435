#pragma once
#include <vector>

#include "levin/core/config.h"
#include "levin/core/tensor.h"

namespace levin {

/// Lightning's gradient_clip_algorithm.
enum class ClipAlgorithm { norm, value };
LEVIN_ENUM(ClipAlgorithm, (norm, "norm"), (value, "value"))

/// Sum of the squares of a flat slice, in fp64.
double squared_norm(const Tensor& slice);
/// The same of several slices together: a device is waited for once.
double squared_norm(const std::vector<Tensor>& slices);
/// Scales a slice in place so that the whole gradient, of norm `total_norm`, has at most `max_norm` (as torch.nn.utils.clip_grad_norm_: by
/// max_norm / (total_norm + 1e-6), where that is below 1).
void clip_by_norm(const Tensor& slice, double total_norm, double max_norm);
/// Cuts every element to [-limit, limit], in place.
void clip_by_value(const Tensor& slice, double limit);

}  // namespace levin
