#pragma once
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "levin/trainer/module.h"

namespace gan {

using levin::Tensor;

struct GanConfig {
  int64_t latent = 64;
  int64_t channels = 32;
  double lr = 2e-4;
  double beta1 = 0.5;
  int64_t samples = 64;
};
LEVIN_CONFIG(GanConfig, (latent, "numbers from which an image is generated", at_least(1)),
             (channels, "channels at 14 x 14; at 7 x 7 there are twice as many", at_least(1)),
             (lr, "learning rate of both networks", greater_than(0)), (beta1, "Adam's decay of the mean", at_least(0), less_than(1)),
             (samples, "images that are generated at the end of each epoch", between(1, 10000)))

/// latent [n, latent] -> images [n, 1, 28, 28], pixels from 0 to 1.
class GeneratorImpl : public torch::nn::Module {
 public:
  explicit GeneratorImpl(const GanConfig& config);
  Tensor forward(const Tensor& latent);

 private:
  torch::nn::Linear start_;
  torch::nn::ConvTranspose2d up1_, up2_;
  torch::nn::BatchNorm2d norm0_, norm1_;
};
TORCH_MODULE(Generator);

/// images -> logits [n, 1]: how real they look.
class DiscriminatorImpl : public torch::nn::Module {
 public:
  explicit DiscriminatorImpl(const GanConfig& config);
  Tensor forward(const Tensor& images);

 private:
  torch::nn::Conv2d down1_, down2_;
  torch::nn::Linear last_;
};
TORCH_MODULE(Discriminator);

/// A small DCGAN (Radford, Metz and Chintala, 2016) with the non-saturating loss, on batches of "image", [n, 1, 28, 28], pixels from 0
/// to 1. Each step updates the discriminator and then the generator.
class Gan : public levin::Module {
 public:
  using Config = GanConfig;
  explicit Gan(const GanConfig& config);
  bool automatic_optimization() const override { return false; }
  std::vector<levin::OptimizerSpec> configure_optimizers() override;

  Tensor training_step(const levin::Batch& batch) override;
  /// How real the discriminator takes unseen images, and generated ones, to be.
  void validation_step(const levin::Batch& batch) override;
  /// A generated image for each sample.
  Tensor predict_step(const levin::Batch& batch) override { return generator_(noise(batch)); }
  /// Rank 0 writes samples/epoch=NNN.pgm into the run directory, from the same latent numbers in each epoch.
  void on_train_epoch_end() override;

 private:
  Tensor noise(const levin::Batch& batch) const;

  GanConfig config_;
  Generator generator_;
  Discriminator discriminator_;
  Tensor sample_latent_;
};

}  // namespace gan
