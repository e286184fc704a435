#include "fno.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/fft_irfft2.h>
#include <ATen/ops/fft_rfft2.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <numbers>

#include "levin/core/error.h"

namespace surrogate {

using levin::Batch;

namespace {

torch::nn::Conv2d pointwise(int64_t inputs, int64_t outputs) { return torch::nn::Conv2d(torch::nn::Conv2dOptions(inputs, outputs, 1)); }

// Of each sample, [n].
Tensor relative_errors(const Tensor& u, const Tensor& expected) {
  return at::linalg_vector_norm((u - expected).flatten(1), 2, 1) / at::linalg_vector_norm(expected.flatten(1), 2, 1);
}

}  // namespace

FourierLayerImpl::FourierLayerImpl(int64_t width, int64_t modes) : modes_(modes), pointwise_(pointwise(width, width)) {
  const double deviation = 1 / static_cast<double>(width);
  real_ = register_parameter("real", at::empty({2, width, width, modes, modes}).normal_(0, deviation));
  imaginary_ = register_parameter("imaginary", at::empty({2, width, width, modes, modes}).normal_(0, deviation));
  register_module("pointwise", pointwise_);
}

Tensor FourierLayerImpl::compute(Tensor x) {
  const int64_t height = x.size(2), width = x.size(3);
  const Tensor spectrum = at::fft_rfft2(x).narrow(3, 0, modes_);
  const Tensor low = at::stack({spectrum.narrow(2, 0, modes_), spectrum.narrow(2, height - modes_, modes_)});
  const Tensor mixed = at::einsum("knixy,kioxy->knoxy", {low, at::complex(real_, imaginary_)});
  const Tensor between = at::zeros({x.size(0), mixed.size(2), height - 2 * modes_, modes_}, mixed.options());
  // The inverse transform takes frequencies that it does not get as zeros.
  return at::gelu(pointwise_(x) + at::fft_irfft2(at::cat({mixed[0], between, mixed[1]}, 2), at::IntArrayRef{height, width}));
}

Fno::Fno(const FnoConfig& config)
    : config_(config),
      lift_(pointwise(4, config.width)),
      hidden_(pointwise(config.width, 2 * config.width)),
      last_(pointwise(2 * config.width, 1)) {
  register_module("lift", lift_);
  register_module("layers", layers_);
  for (int64_t i = 0; i < config.layers; i++) layers_->push_back(FourierLayer(config.width, config.modes));
  register_module("hidden", hidden_);
  register_module("last", last_);
}

Tensor Fno::forward(const Tensor& a) {
  if (a.dim() != 3 || a.size(1) < 2 * config_.modes || a.size(2) < 2 * config_.modes)
    throw levin::ConfigError(fmt::format("model.modes is {}, and the fields a have the shape {}", config_.modes, c10::str(a.sizes())),
                             "a field [n, cells, cells] has at least twice as many cells in each direction", "surrogate");
  const auto centres = [&](int64_t cells) { return (at::arange(cells, a.options()) + 0.5) / static_cast<double>(cells); };
  const Tensor y = centres(a.size(1)).unsqueeze(1).expand_as(a), x = centres(a.size(2)).expand_as(a);
  const Tensor bump = (std::numbers::pi * x).sin() * (std::numbers::pi * y).sin();  // 0 on the boundary, as u
  Tensor channels = lift_(at::stack({a.log(), x, y, bump}, 1));
  for (const auto& layer : *layers_) channels = layer->as<FourierLayerImpl>()->forward(channels);
  constexpr double size = 0.1;  // of u where a is about 1
  return size * bump * last_(at::gelu(hidden_(channels))).squeeze(1);
}

Tensor Fno::training_step(const Batch& batch) {
  Tensor loss = relative_errors(forward(batch["a"]), batch["u"]).mean();
  log("train_error", loss, {.prog_bar = true});
  return loss;
}

void Fno::validation_step(const Batch& batch) {
  log("val_error", relative_errors(forward(batch["a"]), batch["u"]).mean(), {.prog_bar = true});
}

void Fno::test_step(const Batch& batch) {
  const Tensor errors = relative_errors(forward(batch["a"]), batch["u"]);
  log("test_error", errors.mean());
  log("test_largest_error", errors.max(), {.reduce_fx = levin::ReduceFx::max});
}

std::vector<levin::OptimizerSpec> Fno::configure_optimizers() {
  levin::OptimizerSpec spec = levin::AdamW{.lr = config_.lr, .weight_decay = config_.weight_decay};
  spec.rules = {{.pattern = "*.bias", .weight_decay = 0}};
  spec.lr_scheduler = levin::CosineAnnealingLR{.warmup = {.warmup = 20}};
  return {spec};
}

}  // namespace surrogate
