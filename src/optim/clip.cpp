#include "levin/optim/clip.h"

#include <ATen/ops/fmin.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>

#include <algorithm>

namespace levin {

double squared_norm(const Tensor& slice) {
  const auto squared = [](const Tensor& part) {
    const double norm = at::linalg_vector_norm(part, 2, std::nullopt, false, at::kDouble).item<double>();
    return norm * norm;
  };
  constexpr int64_t block = 1 << 18;  // on the CPU LibTorch copies what it is given into fp64
  const int64_t numel = slice.numel();
  if (numel <= block || slice.scalar_type() == at::kDouble) return squared(slice);
  double sum = 0;
  for (int64_t begin = 0; begin < numel; begin += block) sum += squared(slice.narrow(0, begin, std::min(block, numel - begin)));
  return sum;
}

Tensor squared_norm(const std::vector<Tensor>& slices) {
  if (slices.empty() || slices.front().is_cpu()) {
    double sum = 0;
    for (const auto& slice : slices) sum += squared_norm(slice);
    return at::scalar_tensor(sum, at::kDouble);
  }
  std::vector<Tensor> norms;
  for (const auto& slice : slices) norms.push_back(at::linalg_vector_norm(slice, 2, std::nullopt, false, at::kDouble));
  return at::stack(norms).square().sum();
}

Tensor clip_factor(const Tensor& total_norm, double max_norm) {
  const Tensor factor = at::full_like(total_norm, max_norm).div_(total_norm.add(1e-6));
  return at::fmin(factor, at::ones_like(factor));  // a NaN gives 1
}

void scale_slice(const Tensor& slice, const Tensor& factor) {
  if (!factor.is_cpu())
    slice.mul_(factor);
  else if (const double value = factor.item<double>(); value != 1)
    slice.mul_(value);
}

void clip_by_value(const Tensor& slice, double limit) { slice.clamp_(-limit, limit); }

}  // namespace levin
