#pragma once
#include <torch/nn/modules/batchnorm.h>

namespace levin::detail {

/// Calls visit(layer) if `module` is a batch normalization, of any number of dimensions, and returns whether it is.
template <class Visit>
bool visit_batch_norm(torch::nn::Module& module, const Visit& visit) {
  const auto visit_as = [&](auto* layer) {
    if (layer) visit(*layer);
    return layer != nullptr;
  };
  return visit_as(dynamic_cast<torch::nn::BatchNorm1dImpl*>(&module)) || visit_as(dynamic_cast<torch::nn::BatchNorm2dImpl*>(&module)) ||
         visit_as(dynamic_cast<torch::nn::BatchNorm3dImpl*>(&module));
}

}  // namespace levin::detail
