#include "classifier.h"

#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/softmax.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include "fashion_mnist_data.h"

namespace fashion_mnist {

using levin::Batch, levin::Tensor;

Classifier::Classifier(const ClassifierConfig& config) : config_(config) {
  namespace nn = torch::nn;
  const int64_t c = config.channels, pooled = FashionMnistData::side / 4;
  net_ = register_module("net", nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, c, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                                               nn::Conv2d(nn::Conv2dOptions(c, 2 * c, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                                               nn::Flatten(), nn::Linear(2 * c * pooled * pooled, config.hidden), nn::ReLU(),
                                               nn::Dropout(config.dropout), nn::Linear(config.hidden, FashionMnistData::classes)));
}

Tensor Classifier::training_step(const Batch& batch) {
  Tensor loss = at::cross_entropy_loss(net_->forward(batch["image"]), batch["label"]);
  log("train_loss", loss, {.prog_bar = true});
  return loss;
}

void Classifier::validation_step(const Batch& batch) {
  const Tensor scores = net_->forward(batch["image"]);
  accuracy_.update(scores, batch["label"]);
  log("val_loss", at::cross_entropy_loss(scores, batch["label"]));
  log("val_acc", accuracy_, {.prog_bar = true});
}

void Classifier::test_step(const Batch& batch) {
  accuracy_.update(net_->forward(batch["image"]), batch["label"]);
  log("test_acc", accuracy_);
}

Tensor Classifier::predict_step(const Batch& batch) { return at::softmax(net_->forward(batch["image"]), 1); }

std::vector<levin::OptimizerSpec> Classifier::configure_optimizers() {
  levin::OptimizerSpec spec = levin::AdamW{.lr = config_.lr, .weight_decay = 0.02};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  spec.lr_scheduler = levin::CosineAnnealingLR{.warmup = {.warmup = 100}};
  return {spec};
}

}  // namespace fashion_mnist
