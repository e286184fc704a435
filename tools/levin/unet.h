#pragma once
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>

#include <cstdint>
#include <string>

#include "levin/exported/objective_module.h"
#include "levin/nn/unit.h"

namespace levin::named_models {

struct UNetConfig {
  int64_t channels = 1;
  int64_t outputs = 1;
  int64_t width = 32;
  int64_t depth = 3;
  std::string input = "image";
  ObjectiveConfig objective = {.loss = "mse(output, target)"};
};
LEVIN_CONFIG(UNetConfig, (channels, "channels of an image", at_least(1)), (outputs, "channels of the output", at_least(1)),
             (width, "channels of the first level; each next one has twice as many", at_least(1)),
             (depth, "levels below the first; each halves the image", between(1, 10)), (input, "the batch's tensor that it sees"),
             (objective, "what it is trained for; its output is named output", flattened))
LEVIN_CHOICE(UNetConfig, "unet")

/// Two 3 x 3 convolutions, each with BatchNorm and ReLU.
class DoubleConvolutionImpl : public Unit<Tensor(Tensor)> {
 public:
  DoubleConvolutionImpl(int64_t inputs, int64_t outputs);
  Tensor compute(Tensor x) override;

 private:
  torch::nn::Conv2d conv1_, conv2_;
  torch::nn::BatchNorm2d norm1_, norm2_;
};
LEVIN_UNIT(DoubleConvolution);

/// Ronneberger, Fischer and Brox, "U-Net", 2015, with padding: image [n, channels, height, width] -> output [n, outputs, height, width].
/// Height and width are multiples of 2^depth.
class UNet : public ObjectiveModule {
 public:
  using Config = UNetConfig;
  explicit UNet(const UNetConfig& config);

 protected:
  Outputs compute(const Batch& batch) override;

 private:
  UNetConfig config_;
  torch::nn::ModuleList down_, up_, merge_;
  torch::nn::Conv2d last_;
};

}  // namespace levin::named_models
