#pragma once
#include <functional>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/nn/activation_checkpointing_kind.h"

namespace levin::detail {

/// A computation that a backward repeats: called without a graph now, and with one in the backward, with the same random numbers and
/// autocast.
struct Repeatable {
  std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)> compute;
  std::function<void()> repeated;  ///< after the backward of the second computation
};
/// The outputs of compute(inputs), whose backward repeats it. A computation whose inputs need no gradient has one, too: for parameters.
std::vector<Tensor> compute_twice(const std::vector<Tensor>& inputs, Repeatable computation, ActivationCheckpointing keep);

}  // namespace levin::detail
