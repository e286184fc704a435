#include "classifier.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/softmax.h>

#include "fashion_mnist_data.h"

namespace fashion_mnist {

using levin::Batch, levin::Tensor;

Classifier::Classifier(const ClassifierConfig& config)
    : config_(config),
      conv1_(torch::nn::Conv2dOptions(1, config.channels, 3).padding(1)),
      conv2_(torch::nn::Conv2dOptions(config.channels, 2 * config.channels, 3).padding(1)),
      hidden_(2 * config.channels * (FashionMnistData::side / 4) * (FashionMnistData::side / 4), config.hidden),
      output_(config.hidden, FashionMnistData::classes) {
  register_module("conv1", conv1_);
  register_module("conv2", conv2_);
  register_module("hidden", hidden_);
  register_module("output", output_);
}

Tensor Classifier::scores(const Tensor& image) {
  Tensor x = at::max_pool2d(at::relu(conv1_(image)), 2);
  x = at::max_pool2d(at::relu(conv2_(x)), 2);
  x = at::relu(hidden_(x.flatten(1)));
  return output_(at::dropout(x, config_.dropout, is_training()));
}

Tensor Classifier::training_step(const Batch& batch) {
  Tensor loss = at::cross_entropy_loss(scores(batch["image"]), batch["label"]);
  log("train_loss", loss, {.prog_bar = true});
  return loss;
}

void Classifier::validation_step(const Batch& batch) {
  const Tensor predicted = scores(batch["image"]);
  accuracy_.update(predicted, batch["label"]);
  log("val_loss", at::cross_entropy_loss(predicted, batch["label"]));
  log("val_acc", accuracy_, {.prog_bar = true});
}

void Classifier::test_step(const Batch& batch) {
  accuracy_.update(scores(batch["image"]), batch["label"]);
  log("test_acc", accuracy_);
}

Tensor Classifier::predict_step(const Batch& batch) { return at::softmax(scores(batch["image"]), 1); }

std::vector<levin::OptimizerSpec> Classifier::configure_optimizers() {
  levin::OptimizerSpec spec = levin::AdamW{.lr = config_.lr, .weight_decay = 0.02};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  spec.lr_scheduler = levin::CosineAnnealingLR{.warmup = {.warmup = 100}};
  return {spec};
}

}  // namespace fashion_mnist
