#pragma once
#include <optional>

#include "fashion_mnist_data.h"
#include "levin/trainer/data_module.h"

namespace fashion_mnist {

/// Fashion-MNIST for a Trainer.
class FashionMnist : public levin::DataModule {
 public:
  using Config = FashionMnistDataConfig;
  explicit FashionMnist(const FashionMnistDataConfig& config) : config_(config) {}

  void setup(levin::Stage) override {
    if (!data_) data_.emplace(config_);
  }
  levin::DataLoaderSpec train_dataloader() override { return {data_->train(), config_.loader}; }
  levin::DataLoaderSpec val_dataloader() override { return {data_->val(), config_.loader}; }
  levin::DataLoaderSpec test_dataloader() override { return {data_->test(), config_.loader}; }

 private:
  FashionMnistDataConfig config_;
  std::optional<FashionMnistData> data_;
};

}  // namespace fashion_mnist
