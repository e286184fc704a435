#pragma once
#include <functional>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/nn/activation_checkpointing_kind.h"

namespace levin::detail {

/// A computation that its backward repeats: first without an autograd graph, again with one in the backward, with the same random numbers
/// and autocast.
struct Repeatable {
  std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)> compute;
  std::function<void()> repeated;  ///< after the backward of the second computation
};
/// Returns compute(inputs); the backward of the outputs repeats it. Works without inputs that require a gradient, since parameters may.
/// `keep` says what the first computation saves. Local.
std::vector<Tensor> compute_twice(const std::vector<Tensor>& inputs, Repeatable computation, ActivationCheckpointing keep);

}  // namespace levin::detail
