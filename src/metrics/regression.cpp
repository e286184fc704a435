#include "regression.h"

#include <ATen/ops/scalar_tensor.h>

#include "class_samples.h"
#include "levin/core/error.h"
#include "levin/metrics/exact_sum.h"

namespace levin::detail {

Tensor differences(const std::string& metric, const Tensor& predictions, const Tensor& targets) {
  if (predictions.sizes() != targets.sizes())
    throw UsageError("metrics", fmt::format("{}: predictions are {}, targets {}", metric, shape_text(predictions), shape_text(targets)),
                     "give tensors of the same shape");
  return predictions.detach().to(at::kDouble).sub(targets.detach().to(at::kDouble));
}

Tensor mean_of(const Tensor& sum, const Tensor& count) {
  return at::scalar_tensor(ExactSum::total(sum) / static_cast<double>(count.item<int64_t>()), at::kDouble);
}

}  // namespace levin::detail
