#include "levin/metrics/mean_absolute_error.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/zeros.h>

#include "levin/metrics/exact_sum.h"
#include "regression.h"

namespace levin {

MeanAbsoluteError::MeanAbsoluteError()
    : sum_(add_state("sum", StateReduction::sum, ExactSum::zero())),
      count_(add_state("count", StateReduction::sum, at::zeros({}, at::kLong))) {}

void MeanAbsoluteError::update(const Tensor& predictions, const Tensor& targets) {
  ExactSum(sum_).add(detail::differences("MeanAbsoluteError", predictions, targets).abs());
  count_.value.add_(targets.numel());
}

Tensor MeanAbsoluteError::compute() const { return detail::mean_of(sum_.value, count_.value); }

}  // namespace levin
