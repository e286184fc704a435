#include "levin/metrics/perplexity.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/zeros.h>

#include "class_samples.h"
#include "levin/core/error.h"
#include "levin/metrics/exact_sum.h"
#include "regression.h"

namespace levin {

Perplexity::Perplexity(const PerplexityConfig& config)
    : config_(config),
      sum_(add_state("sum", StateReduction::sum, ExactSum::zero())),
      count_(add_state("count", StateReduction::sum, at::zeros({}, at::kLong))),
      invalid_(add_state("invalid", StateReduction::sum, at::zeros({}, at::kLong))) {}

void Perplexity::update(const Tensor& scores, const Tensor& labels) {
  const bool fits = scores.is_floating_point() && !labels.is_floating_point() && scores.dim() == labels.dim() + 1 && scores.size(-1) > 0 &&
                    scores.sizes().slice(0, labels.sizes().size()) == labels.sizes();
  if (!fits)
    throw UsageError("metrics", fmt::format("Perplexity: scores are {}, labels {}", detail::shape_text(scores), detail::shape_text(labels)),
                     "give floating scores [..., vocabulary] and integral labels [...]");
  if (labels.numel() == 0) return;
  const auto vocabulary = scores.size(-1);
  const auto dtype = scores.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto tokens = labels.reshape({-1}).to(at::kLong);
  const auto [valid, invalid] = detail::use_of_labels(tokens, tokens.ge(0).logical_and(tokens.lt(vocabulary)), config_.ignore_index);
  const auto logs = scores.detach().reshape({-1, vocabulary}).to(dtype).log_softmax(1);
  const auto of_labels = logs.gather(1, tokens.clamp(0, vocabulary - 1).unsqueeze(1)).squeeze(1).neg();
  ExactSum(sum_).add(of_labels.to(at::kDouble).masked_fill(valid.logical_not(), 0));  // a term of 0 adds nothing
  count_.value.add_(valid.sum());
  invalid_.value.add_(invalid.sum());
}

Tensor Perplexity::compute() const {
  detail::check_labels("Perplexity", invalid_.value);
  return detail::mean_of(sum_.value, count_.value).exp();
}

}  // namespace levin
