#include "levin/optim/clip.h"

#include <ATen/ops/linalg_vector_norm.h>
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
  if (!slice.is_cpu() || numel <= block || slice.scalar_type() == at::kDouble) return squared(slice);
  double sum = 0;
  for (int64_t begin = 0; begin < numel; begin += block) sum += squared(slice.narrow(0, begin, std::min(block, numel - begin)));
  return sum;
}

double squared_norm(const std::vector<Tensor>& slices) {
  double sum = 0;
  std::vector<Tensor> norms;
  for (const auto& slice : slices) {
    if (slice.is_cpu())
      sum += squared_norm(slice);
    else
      norms.push_back(at::linalg_vector_norm(slice, 2, std::nullopt, false, at::kDouble));
  }
  return norms.empty() ? sum : sum + at::stack(norms).square().sum().item<double>();
}

void clip_by_norm(const Tensor& slice, double total_norm, double max_norm) {
  const double factor = max_norm / (total_norm + 1e-6);
  if (factor < 1) slice.mul_(factor);
}

void clip_by_value(const Tensor& slice, double limit) { slice.clamp_(-limit, limit); }

}  // namespace levin
