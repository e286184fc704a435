#pragma once
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "levin/metrics/accuracy.h"
#include "levin/trainer/module.h"

namespace fashion_mnist {

struct ClassifierConfig {
  int64_t channels = 32;
  int64_t hidden = 128;
  double dropout = 0.25;
  double lr = 2e-3;
};
LEVIN_CONFIG(ClassifierConfig, (channels, "channels of the first convolution; the second has twice as many", at_least(1)),
             (hidden, "width of the hidden layer", at_least(1)),
             (dropout, "part of the hidden layer that is dropped", at_least(0), less_than(1)), (lr, "peak learning rate", greater_than(0)))

/// Two convolutions with pooling, one hidden layer: image [n, 1, 28, 28] -> scores [n, 10].
class Classifier : public levin::Module {
 public:
  using Config = ClassifierConfig;
  explicit Classifier(const ClassifierConfig& config);

  levin::Tensor training_step(const levin::Batch& batch) override;
  void validation_step(const levin::Batch& batch) override;
  void test_step(const levin::Batch& batch) override;
  levin::Tensor predict_step(const levin::Batch& batch) override;
  std::vector<levin::OptimizerSpec> configure_optimizers() override;

 private:
  levin::Tensor scores(const levin::Tensor& image);

  ClassifierConfig config_;
  torch::nn::Conv2d conv1_, conv2_;
  torch::nn::Linear hidden_, output_;
  levin::Accuracy& accuracy_ = add_metric<levin::Accuracy>("accuracy");
};

}  // namespace fashion_mnist
