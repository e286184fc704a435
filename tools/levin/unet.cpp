#include "unet.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>

#include "levin/core/error.h"

namespace levin::named_models {

DoubleConvolutionImpl::DoubleConvolutionImpl(int64_t inputs, int64_t outputs)
    : conv1_(torch::nn::Conv2dOptions(inputs, outputs, 3).padding(1).bias(false)),
      conv2_(torch::nn::Conv2dOptions(outputs, outputs, 3).padding(1).bias(false)),
      norm1_(outputs),
      norm2_(outputs) {
  register_module("conv1", conv1_);
  register_module("norm1", norm1_);
  register_module("conv2", conv2_);
  register_module("norm2", norm2_);
}

Tensor DoubleConvolutionImpl::compute(Tensor x) { return at::relu(norm2_(conv2_(at::relu(norm1_(conv1_(x)))))); }

UNet::UNet(const UNetConfig& config) : config_(config), last_(torch::nn::Conv2dOptions(config.width, config.outputs, 1)) {
  register_module("down", down_);
  register_module("up", up_);
  register_module("merge", merge_);
  down_->push_back(DoubleConvolution(config.channels, config.width));
  for (int64_t level = 0; level < config.depth; level++)
    down_->push_back(DoubleConvolution(config.width << level, config.width << (level + 1)));
  for (int64_t level = config.depth - 1; level >= 0; level--) {
    const int64_t width = config.width << level;
    up_->push_back(torch::nn::ConvTranspose2d(torch::nn::ConvTranspose2dOptions(2 * width, width, 2).stride(2)));
    merge_->push_back(DoubleConvolution(2 * width, width));
  }
  register_module("last", last_);
  set_objective(config.objective, {"output"}, "");
}

ObjectiveModule::Outputs UNet::compute(const Batch& batch) {
  Tensor x = tensor_of(batch, config_.input, "model.input");
  const int64_t multiple = int64_t{1} << config_.depth;
  if (x.dim() != 4 || x.size(1) != config_.channels || x.size(2) % multiple != 0 || x.size(3) % multiple != 0)
    throw ConfigError(fmt::format("model.channels is {} and model.depth {}, and {} has the shape [{}]", config_.channels, config_.depth,
                                  config_.input, fmt::join(x.sizes(), ", ")),
                      fmt::format("give images [n, channels, height, width] of multiples of {}; data.shape adds dimensions", multiple));
  std::vector<Tensor> skipped;
  for (const auto& block : *down_) {
    if (!skipped.empty()) x = at::max_pool2d(x, 2);
    x = block->as<DoubleConvolutionImpl>()->forward(x);
    skipped.push_back(x);
  }
  for (size_t level = 0; level < up_->size(); level++) {
    const Tensor& skip = skipped[skipped.size() - 2 - level];
    x = at::cat({skip, up_->at<torch::nn::ConvTranspose2dImpl>(level).forward(x)}, 1);
    x = merge_->at<DoubleConvolutionImpl>(level).forward(x);
  }
  return {{"output", last_(x)}};
}

}  // namespace levin::named_models
