#include "resnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>

#include "levin/core/error.h"

namespace levin::named_models {
namespace {

torch::nn::Conv2dOptions convolution(int64_t inputs, int64_t outputs, int64_t size, int64_t stride) {
  return torch::nn::Conv2dOptions(inputs, outputs, size).stride(stride).padding(size / 2).bias(false);
}

int64_t last_width(const ResNetConfig& config) {
  if (config.blocks.empty()) throw ConfigError("model.blocks is empty", "give the blocks of each stage, as [3, 3, 3]");
  return config.width << (config.blocks.size() - 1);
}

}  // namespace

ResidualBlockImpl::ResidualBlockImpl(int64_t inputs, int64_t outputs, int64_t stride)
    : conv1_(convolution(inputs, outputs, 3, stride)), conv2_(convolution(outputs, outputs, 3, 1)), norm1_(outputs), norm2_(outputs) {
  register_module("conv1", conv1_);
  register_module("norm1", norm1_);
  register_module("conv2", conv2_);
  register_module("norm2", norm2_);
  if (inputs != outputs || stride != 1) shortcut_ = register_module("shortcut", torch::nn::Conv2d(convolution(inputs, outputs, 1, stride)));
}

Tensor ResidualBlockImpl::compute(Tensor x) {
  const Tensor y = norm2_(conv2_(at::relu(norm1_(conv1_(x)))));
  return at::relu(y + (shortcut_.is_empty() ? x : shortcut_(x)));
}

ResNet::ResNet(const ResNetConfig& config)
    : input_(config.input),
      stem_(convolution(config.channels, config.width, 3, 1)),
      norm_(config.width),
      classifier_(last_width(config), config.classes) {
  register_module("stem", stem_);
  register_module("norm", norm_);
  register_module("blocks", blocks_);
  int64_t width = config.width;
  for (size_t stage = 0; stage < config.blocks.size(); stage++)
    for (int64_t i = 0; i < config.blocks[stage]; i++) {
      const bool halves = stage > 0 && i == 0;
      blocks_->push_back(ResidualBlock(width, halves ? 2 * width : width, halves ? 2 : 1));
      if (halves) width *= 2;
    }
  register_module("classifier", classifier_);
  set_objective(config.objective, {"output"}, "");
}

ObjectiveModule::Outputs ResNet::compute(const Batch& batch) {
  const Tensor& image = tensor_of(batch, input_, "model.input");
  const int64_t channels = stem_->options.in_channels();
  if (image.dim() != 4 || image.size(1) != channels)
    throw ConfigError(fmt::format("model.channels is {}, and {} has the shape [{}]", channels, input_, fmt::join(image.sizes(), ", ")),
                      "give images [n, channels, height, width]; data.shape adds dimensions");
  Tensor x = at::relu(norm_(stem_(image)));
  for (const auto& block : *blocks_) x = block->as<ResidualBlockImpl>()->forward(x);
  return {{"output", classifier_(x.mean({2, 3}))}};
}

}  // namespace levin::named_models
