#pragma once
// The narrow way to a tensor: this header costs a few seconds of compile time, torch/torch.h twenty.
#include <ATen/core/Tensor.h>

namespace levin {
using at::Tensor;
}
