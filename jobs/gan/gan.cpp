#include "gan.h"

#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softplus.h>
#include <c10/core/GradMode.h>

#include "../fashion_mnist/fashion_mnist_data.h"
#include "levin/trainer/trainer.h"
#include "samples.h"

namespace gan {

using levin::Batch;

namespace {

// Pixels from 0 to 1.
Tensor pixels(const Batch& batch) {
  using Data = fashion_mnist::FashionMnistData;
  return batch["image"] * Data::pixel_deviation + Data::pixel_mean;
}

auto halving(int64_t inputs, int64_t outputs) { return torch::nn::Conv2dOptions(inputs, outputs, 4).stride(2).padding(1); }
auto doubling(int64_t inputs, int64_t outputs) { return torch::nn::ConvTranspose2dOptions(inputs, outputs, 4).stride(2).padding(1); }

}  // namespace

GeneratorImpl::GeneratorImpl(const GanConfig& config)
    : start_(config.latent, 2 * config.channels * 7 * 7),
      up1_(doubling(2 * config.channels, config.channels).bias(false)),
      up2_(doubling(config.channels, 1)),
      norm0_(2 * config.channels),
      norm1_(config.channels) {
  register_module("start", start_);
  register_module("norm0", norm0_);
  register_module("up1", up1_);
  register_module("norm1", norm1_);
  register_module("up2", up2_);
}

Tensor GeneratorImpl::forward(const Tensor& latent) {
  Tensor x = at::relu(norm0_(start_(latent).view({latent.size(0), -1, 7, 7})));
  x = at::relu(norm1_(up1_(x)));
  return at::sigmoid(up2_(x));
}

DiscriminatorImpl::DiscriminatorImpl(const GanConfig& config)
    : down1_(halving(1, config.channels)), down2_(halving(config.channels, 2 * config.channels)), last_(2 * config.channels * 7 * 7, 1) {
  register_module("down1", down1_);
  register_module("down2", down2_);
  register_module("last", last_);
}

Tensor DiscriminatorImpl::forward(const Tensor& images) {
  constexpr double slope = 0.2;
  Tensor x = at::leaky_relu(down1_(images * 2 - 1), slope);
  x = at::leaky_relu(down2_(x), slope);
  return last_(x.flatten(1));
}

Gan::Gan(const GanConfig& config) : config_(config), generator_(config), discriminator_(config) {
  register_module("generator", generator_);
  register_module("discriminator", discriminator_);
  sample_latent_ = register_buffer("sample_latent", at::randn({config.samples, config.latent}));
}

std::vector<levin::OptimizerSpec> Gan::configure_optimizers() {
  levin::OptimizerSpec generator = levin::Adam{.lr = config_.lr, .beta1 = config_.beta1}, discriminator = generator;
  generator.name = "generator", generator.parameters = {"generator.*"};
  discriminator.name = "discriminator", discriminator.parameters = {"discriminator.*"};
  return {discriminator, generator};
}

// The generator of random numbers is seeded for each rank and step.
Tensor Gan::noise(const Batch& batch) const { return at::randn({batch["image"].size(0), config_.latent}, batch["image"].options()); }

Tensor Gan::training_step(const Batch& batch) {
  const Tensor fake = generator_(noise(batch));
  log("discriminator_loss",
      optimize("discriminator",
               [&] { return (at::softplus(-discriminator_(pixels(batch))) + at::softplus(discriminator_(fake.detach()))).mean(); }),
      {.prog_bar = true});
  log("generator_loss", optimize("generator", [&] { return at::softplus(-discriminator_(fake)).mean(); }), {.prog_bar = true});
  return {};
}

void Gan::validation_step(const Batch& batch) {
  log("val_real", at::sigmoid(discriminator_(pixels(batch))).mean());
  log("val_generated", at::sigmoid(discriminator_(generator_(noise(batch)))).mean());
}

void Gan::on_train_epoch_end() {
  const auto& folder = trainer().default_root_dir();
  if (trainer().session().rank() != 0 || folder.empty()) return;
  const c10::NoGradGuard no_grad;
  generator_->eval();
  const Tensor images = generator_(sample_latent_);
  generator_->train();
  write_grid(images.squeeze(1), folder / "samples" / fmt::format("epoch={:03}.pgm", trainer().current_epoch()));
}

}  // namespace gan
