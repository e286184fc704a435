#include "random_model.h"

#include <ATen/ops/cos.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>

#include <algorithm>

namespace levin::test {
namespace {
bool chance(std::mt19937& random, int of) { return random() % static_cast<uint32_t>(of) == 0; }
}  // namespace

RandomModel::InnerImpl::InnerImpl(int64_t width) {
  linear = register_module("linear", torch::nn::Linear(width, width));
  to(at::kDouble);
}

Tensor RandomModel::InnerImpl::compute(Tensor x) { return at::tanh(linear(x)); }

RandomModel::BlockImpl::BlockImpl(int64_t width, std::mt19937& random, const Tensor& shared_weight) {
  const int64_t hidden = width + static_cast<int64_t>(random() % 7);
  up = register_module("up", torch::nn::Linear(width, hidden));
  down = register_module("down", torch::nn::Linear(hidden, width));
  to(at::kDouble);
  with_inner = chance(random, 2), with_side = chance(random, 2), with_shared = chance(random, 3), with_dropout = chance(random, 3);
  if (with_inner) inner = register_module("inner", Inner(width));
  if (with_shared) shared = register_parameter("shared", shared_weight);
  if (chance(random, 4)) unused = register_parameter("unused", at::ones({5}, at::kDouble));
  if (chance(random, 4)) up->weight.requires_grad_(false);
  if (chance(random, 5))
    for (auto& parameter : parameters())
      if (!parameter.is_same(shared_weight)) parameter.requires_grad_(false);
  if (chance(random, 3)) checkpoint_activations(ActivationCheckpointing::units);
  if (with_inner && chance(random, 4)) inner->checkpoint_activations(ActivationCheckpointing::units);
}

std::tuple<Tensor, std::optional<Tensor>, Tensor> RandomModel::BlockImpl::compute(const Tensor& x, double scale) {
  Tensor y = down(at::gelu(up(x)));
  if (with_dropout) y = at::dropout(y, 0.3, is_training());
  if (with_inner) y = y + inner(x);
  if (with_shared) y = y + at::matmul(x, shared);
  y = x + scale * y;
  return {y, with_side ? std::optional(y.pow(2).mean(1)) : std::nullopt, y.argmax(1)};
}

RandomModel::RandomModel(uint32_t seed) {
  std::mt19937 random(seed);
  width = 4 + static_cast<int64_t>(random() % 9);
  first = register_module("first", torch::nn::Linear(width, width));
  shared = register_parameter("shared", 0.1 * at::randn({width, width}, at::kDouble));
  const auto count = 1 + random() % 4;
  for (uint32_t i = 0; i < count; i++) blocks.push_back(register_module("block" + std::to_string(i), Block(width, random, shared)));
  last = register_module("last", torch::nn::Linear(width, 1));
  first->to(at::kDouble), last->to(at::kDouble);
  for (uint32_t i = 0; i < count + 1; i++)
    if (!chance(random, 6)) calls.push_back(static_cast<int>(random() % count));
}

Tensor RandomModel::loss(const Tensor& x) {
  Tensor y = calls.size() % 2 == 0 ? first(x) : x, side = first(x).mean(1) * 0.1;
  for (const int call : calls) {
    const auto [next, extra, whole] = blocks[static_cast<size_t>(call)](y, 0.5);
    y = next + (whole % 2).to(at::kDouble).unsqueeze(1) * 0.01;
    if (extra) side = side + 0.1 * *extra;
  }
  return (last(at::cos(y)).squeeze(1).pow(2) + side.pow(2)).mean();
}

}  // namespace levin::test
