#include "levin/metrics/mean.h"

#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include "levin/core/error.h"

namespace levin {

Mean::Mean()
    : sum_(add_state("sum", StateReduction::sum, at::zeros({}, at::kDouble))),
      weight_(add_state("weight", StateReduction::sum, at::zeros({}, at::kDouble))) {}

void Mean::update(double value, double weight) {
  if (weight == 0) return;
  if (device().is_cpu()) {  // ten times less than two calls of ATen
    *sum_.value.mutable_data_ptr<double>() += value * weight;
    *weight_.value.mutable_data_ptr<double>() += weight;
    return;
  }
  sum_.value.add_(value * weight);
  weight_.value.add_(weight);
}

void Mean::update(const Tensor& values, double weight) {
  const auto count = values.numel();
  if (weight == 0 || count == 0) return;
  if (count == 1 && device().is_cpu() && values.device().is_cpu()) return update(values.item<double>(), weight);
  sum_.value.add_(values.detach().sum(at::kDouble), weight);
  weight_.value.add_(static_cast<double>(count) * weight);
}

void Mean::update(const Tensor& values, const Tensor& weights) {
  if (values.sizes() != weights.sizes())
    throw UsageError("metrics", fmt::format("Mean: {} values and {} weights", c10::str(values.sizes()), c10::str(weights.sizes())));
  sum_.value.add_(values.detach().to(at::kDouble).mul(weights.detach()).sum());
  weight_.value.add_(weights.detach().sum(at::kDouble));
}

Tensor Mean::compute() const { return sum_.value.div(weight_.value); }

}  // namespace levin
