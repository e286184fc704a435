#pragma once
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>

#include "levin/nn/unit.h"
#include "levin/trainer/module.h"

namespace surrogate {

using levin::Tensor;

struct FnoConfig {
  int64_t width = 24;
  int64_t modes = 10;
  int64_t layers = 4;
  double lr = 4e-3;
  double weight_decay = 1e-4;
};
LEVIN_CONFIG(FnoConfig, (width, "channels of the layers", at_least(1)),
             (modes, "frequencies that a layer keeps in each direction; a field has at least twice as many cells", at_least(1)),
             (layers, "Fourier layers", at_least(1)), (lr, "peak learning rate", greater_than(0)), (weight_decay, "AdamW's", at_least(0)))

/// x [n, width, height, width of the field] -> gelu(W x + K x): W acts on the channels of a cell, K on the lowest frequencies of the field.
class FourierLayerImpl : public levin::Unit<Tensor(Tensor)> {
 public:
  FourierLayerImpl(int64_t width, int64_t modes);
  Tensor compute(Tensor x) override;

 private:
  int64_t modes_;
  Tensor real_, imaginary_;  // [2, width, width, modes, modes]: of frequencies 0, 1, … and of …, -2, -1 in the first direction
  torch::nn::Conv2d pointwise_;
};
LEVIN_UNIT(FourierLayer);

/// A Fourier neural operator (Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", 2021) that learns the
/// coefficients "a" -> the solution "u" of diffusion.h's equation, both [n, cells, cells]. The relative L2 error is loss and metric.
class Fno : public levin::Module {
 public:
  using Config = FnoConfig;
  explicit Fno(const FnoConfig& config);

  /// a -> u. ConfigError where the field has fewer cells than the layers have frequencies.
  Tensor forward(const Tensor& a);

  Tensor training_step(const levin::Batch& batch) override;
  void validation_step(const levin::Batch& batch) override;
  void test_step(const levin::Batch& batch) override;
  Tensor predict_step(const levin::Batch& batch) override { return forward(batch["a"]); }
  std::vector<levin::OptimizerSpec> configure_optimizers() override;

 private:
  FnoConfig config_;
  torch::nn::Conv2d lift_, hidden_, last_;
  torch::nn::ModuleList layers_;
};

}  // namespace surrogate
