#include "block.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "levin/core/error.h"

namespace gpt {
namespace {

constexpr double epsilon = 1e-5;

levin::Linear make_linear(int64_t inputs, int64_t outputs, bool bias, double deviation) {
  levin::Linear linear(torch::nn::LinearOptions(inputs, outputs).bias(bias));
  const at::NoGradGuard no_grad;
  linear->weight.normal_(0, deviation);
  if (bias) linear->bias.zero_();
  return linear;
}

// Pairs (i, i + half) of each head are turned by the angles of their place: x [n, heads, T, head width].
Tensor rotate(const Tensor& x, const Tensor& angles) {
  const int64_t half = x.size(-1) / 2;
  const Tensor turn = angles.to(x.scalar_type()), cos = turn[0], sin = turn[1], a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
}

}  // namespace

void GptShape::validate() const {
  if (width % heads != 0)
    throw levin::ConfigError(fmt::format("model.width is {} and model.heads is {}, which does not divide it", width, heads),
                             "give a number of heads that does");
  if (positions == Positions::rotary && head_width() % 2 != 0)
    throw levin::ConfigError(fmt::format("a head is {} wide ({} / {}), and rotary positions need pairs", head_width(), width, heads),
                             "give heads of an even width, or model.positions learned");
}

Tensor rotary_angles(int64_t length, int64_t head_width, const at::TensorOptions& options) {
  const auto exact = options.dtype(at::kDouble);
  const Tensor frequencies = (at::arange(0, head_width, 2, exact) * (-std::log(10000.0) / static_cast<double>(head_width))).exp();
  const Tensor angles = at::arange(length, exact).unsqueeze(1) * frequencies;
  return at::stack({angles.cos(), angles.sin()}).to(options.dtype());
}

NormImpl::NormImpl(const GptShape& shape) : kind_(shape.norm) {
  weight_ = register_parameter("weight", at::ones({shape.width}));
  if (kind_ == NormKind::layer_norm && shape.bias) bias_ = register_parameter("bias", at::zeros({shape.width}));
}

Tensor NormImpl::forward(const Tensor& x) {
  if (kind_ == NormKind::rms_norm) return at::rms_norm(x, weight_.sizes(), weight_, epsilon);
  return at::layer_norm(x, weight_.sizes(), weight_, bias_, epsilon);
}

BlockImpl::BlockImpl(const GptShape& shape) : shape_(shape), norm1_(shape), norm2_(shape) {
  constexpr double deviation = 0.02;
  const double last = deviation / std::sqrt(2.0 * static_cast<double>(shape.layers));
  const int64_t width = shape.width, hidden = shape.hidden();
  register_module("norm1", norm1_);
  qkv_ = register_module("qkv", make_linear(width, 3 * width, shape.bias, deviation));
  attention_out_ = register_module("attention_out", make_linear(width, width, shape.bias, last));
  register_module("norm2", norm2_);
  mlp_in_ =
      register_module("mlp_in", make_linear(width, shape.activation == Activation::gelu ? hidden : 2 * hidden, shape.bias, deviation));
  mlp_out_ = register_module("mlp_out", make_linear(hidden, width, shape.bias, last));
}

Tensor BlockImpl::drop(const Tensor& x) { return at::dropout(x, shape_.dropout, is_training()); }

Tensor BlockImpl::attend(const Tensor& x, const Tensor& angles) {
  const int64_t rows = x.size(0), length = x.size(1);
  const auto heads = [&](const Tensor& part) { return part.view({rows, length, shape_.heads, shape_.head_width()}).transpose(1, 2); };
  const auto parts = qkv_(x).split(shape_.width, -1);  // whose gradients are put together in one pass
  Tensor q = heads(parts[0]), k = heads(parts[1]);
  if (angles.defined()) q = rotate(q, angles), k = rotate(k, angles);
  const Tensor mixed = at::scaled_dot_product_attention(q, k, heads(parts[2]), {}, is_training() ? shape_.dropout : 0, /*is_causal=*/true);
  return attention_out_(mixed.transpose(1, 2).reshape({rows, length, shape_.width}));
}

Tensor BlockImpl::think(const Tensor& x) {
  const Tensor h = mlp_in_(x);
  if (shape_.activation == Activation::gelu) return mlp_out_(at::gelu(h));
  const int64_t half = h.size(-1) / 2;
  return mlp_out_(at::silu(h.narrow(-1, 0, half)) * h.narrow(-1, half, half));
}

Tensor BlockImpl::compute(Tensor x, Tensor angles) {
  x = x + drop(attend(norm1_(x), angles));
  return x + drop(think(norm2_(x)));
}

}  // namespace gpt
