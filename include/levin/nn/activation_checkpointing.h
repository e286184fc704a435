#pragma once
#include <functional>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

/// What a unit keeps of its forward for its backward: everything; its inputs alone, from which the forward is computed again (Chen et al.,
/// "Training Deep Nets with Sublinear Memory Cost", 2016); or those in host memory.
enum class ActivationCheckpointing { none, units, offload };

namespace detail {

/// A computation that a backward repeats: called without a graph now, and with one in the backward, with the same random numbers and
/// autocast.
struct Repeatable {
  std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)> compute;
  std::function<void()> repeated;  ///< after the backward of the second computation
};
/// The outputs of compute(inputs), whose backward repeats it. A computation whose inputs need no gradient has one, too: for parameters.
std::vector<Tensor> compute_twice(const std::vector<Tensor>& inputs, Repeatable what, ActivationCheckpointing keep);

}  // namespace detail
}  // namespace levin
