#pragma once
#include <torch/nn/cloneable.h>
#include <torch/nn/options/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

#include "levin/core/tensor.h"

namespace levin {

/// y = x W^T + b for x [..., in] and y [..., out], in one pass over y. torch::nn::Linear, whose options, names and first weights are the
/// same, adds the bias of inputs with three dimensions or more in a second pass. Options: torch::nn::LinearOptions(in,
/// out).bias(false).
class LinearImpl : public torch::nn::Cloneable<LinearImpl> {
 public:
  LinearImpl(int64_t in, int64_t out) : LinearImpl(torch::nn::LinearOptions(in, out)) {}
  explicit LinearImpl(const torch::nn::LinearOptions& options_);

  /// Registers the parameters, with new values.
  void reset() override;
  /// Uniform between -1/sqrt(in) and 1/sqrt(in), as in PyTorch.
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;
  Tensor forward(const Tensor& x);

  torch::nn::LinearOptions options;
  Tensor weight;  ///< [out, in]
  Tensor bias;    ///< [out], or undefined
};
TORCH_MODULE(Linear);

}  // namespace levin
