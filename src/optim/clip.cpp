#include "levin/optim/clip.h"

#include <ATen/ops/linalg_vector_norm.h>

namespace levin {

double squared_norm(const Tensor& slice) {
  const double norm = at::linalg_vector_norm(slice, 2, std::nullopt, false, at::kDouble).item<double>();
  return norm * norm;
}

void clip_by_norm(const Tensor& slice, double total_norm, double max_norm) {
  const double factor = max_norm / (total_norm + 1e-6);
  if (factor < 1) slice.mul_(factor);
}

void clip_by_value(const Tensor& slice, double limit) { slice.clamp_(-limit, limit); }

}  // namespace levin
