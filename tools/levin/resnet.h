#pragma once
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>

#include <cstdint>
#include <string>
#include <vector>

#include "levin/exported/objective_module.h"
#include "levin/nn/linear.h"
#include "levin/nn/unit.h"

namespace levin::named_models {

struct ResNetConfig {
  int64_t channels = 3;
  int64_t classes = 10;
  int64_t width = 16;
  std::vector<int64_t> blocks = {3, 3, 3};
  std::string input = "image";
  ObjectiveConfig objective = {
      .loss = "cross_entropy(output, label)", .metrics = {{"acc", "accuracy(output, label)"}}, .predict = "softmax(output)"};
};
LEVIN_CONFIG(ResNetConfig, (channels, "channels of an image", at_least(1)), (classes, "scores of the output", at_least(2)),
             (width, "channels of the first stage; each next one has twice as many", at_least(1)),
             (blocks, "residual blocks of each stage; each stage but the first halves the image", at_least(1)),
             (input, "the batch's tensor that it sees"), (objective, "what it is trained for; its output is named output", flattened))
LEVIN_CHOICE(ResNetConfig, "resnet")

/// Two 3 x 3 convolutions with BatchNorm beside a shortcut, which is a 1 x 1 convolution where the shape changes.
class ResidualBlockImpl : public Unit<Tensor(Tensor)> {
 public:
  ResidualBlockImpl(int64_t inputs, int64_t outputs, int64_t stride);
  Tensor compute(Tensor x) override;

 private:
  torch::nn::Conv2d conv1_, conv2_, shortcut_{nullptr};
  torch::nn::BatchNorm2d norm1_, norm2_;
};
LEVIN_UNIT(ResidualBlock);

/// He et al., "Deep Residual Learning for Image Recognition", 2016, the form for small images: image [n, channels, height, width] -> output
/// [n, classes]. Blocks are units.
class ResNet : public ObjectiveModule {
 public:
  using Config = ResNetConfig;
  explicit ResNet(const ResNetConfig& config);

 protected:
  Outputs compute(const Batch& batch) override;

 private:
  std::string input_;
  torch::nn::Conv2d stem_;
  torch::nn::BatchNorm2d norm_;
  torch::nn::ModuleList blocks_;
  Linear classifier_;
};

}  // namespace levin::named_models
