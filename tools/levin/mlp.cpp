#include "mlp.h"

#include <ATen/ops/dropout.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>

#include "levin/core/error.h"
#include "levin/nn/linear.h"

namespace levin::named_models {
namespace {

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::relu: return at::relu(x);
    case Activation::gelu: return at::gelu(x);
    default: return at::tanh(x);
  }
}

}  // namespace

Mlp::Mlp(const MlpConfig& config) : config_(config) {
  register_module("layers", layers_);
  int64_t width = config.inputs;
  for (const int64_t next : config.hidden) {
    layers_->push_back(Linear(width, next));
    width = next;
  }
  layers_->push_back(Linear(width, config.outputs));
  set_objective(config.objective, {"output"}, "");
}

ObjectiveModule::Outputs Mlp::compute(const Batch& batch) {
  Tensor x = tensor_of(batch, config_.input, "model.input").flatten(1);
  if (x.size(1) != config_.inputs)
    throw ConfigError(fmt::format("model.inputs is {}, and a sample of {} has {} values", config_.inputs, config_.input, x.size(1)),
                      fmt::format("give --model.inputs {}", x.size(1)));
  const size_t last = layers_->size() - 1;
  for (size_t i = 0; i < last; i++)
    x = at::dropout(activate(layers_->at<LinearImpl>(i).forward(x), config_.activation), config_.dropout, is_training());
  return {{"output", layers_->at<LinearImpl>(last).forward(x)}};
}

}  // namespace levin::named_models
