#include "levin/metrics/mean_squared_error.h"

#include <ATen/ops/mul.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/zeros.h>

#include "levin/metrics/exact_sum.h"
#include "regression.h"

namespace levin {

MeanSquaredError::MeanSquaredError(const MeanSquaredErrorConfig& config)
    : config_(config),
      sum_(add_state("sum", StateReduction::sum, ExactSum::zero())),
      count_(add_state("count", StateReduction::sum, at::zeros({}, at::kLong))) {}

void MeanSquaredError::update(const Tensor& predictions, const Tensor& targets) {
  const auto errors = detail::differences("MeanSquaredError", predictions, targets);
  ExactSum(sum_).add(errors.mul(errors));
  count_.value.add_(targets.numel());
}

Tensor MeanSquaredError::compute() const {
  const auto mean = detail::mean_of(sum_.value, count_.value);
  return config_.squared ? mean : mean.sqrt();
}

}  // namespace levin
