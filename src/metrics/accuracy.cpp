#include "levin/metrics/accuracy.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/div.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/unsqueeze.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include "levin/core/error.h"

namespace levin {

Accuracy::Accuracy(int64_t top_k)
    : top_k_(top_k),
      correct_(add_state("correct", StateReduction::sum, at::zeros({}, at::kLong))),
      total_(add_state("total", StateReduction::sum, at::zeros({}, at::kLong))) {
  if (top_k < 1) throw UsageError("metrics", fmt::format("Accuracy: top_k is {}, must be at least 1", top_k));
}

void Accuracy::update(const Tensor& scores, const Tensor& labels) {
  const bool by_score = scores.dim() == 2 && scores.is_floating_point();
  const bool by_class = scores.dim() == 1 && !scores.is_floating_point() && top_k_ == 1;
  if (!(by_score || by_class) || labels.dim() != 1 || labels.size(0) != scores.size(0) || labels.is_floating_point())
    throw UsageError("metrics",
                     fmt::format("Accuracy: scores are {} {}, labels {} {}", c10::str(scores.sizes()), c10::toString(scores.scalar_type()),
                                 c10::str(labels.sizes()), c10::toString(labels.scalar_type())),
                     top_k_ == 1 ? "give floating scores [n, classes] or integral classes [n], and integral labels [n]"
                                 : "give floating scores [n, classes] and integral labels [n]");
  if (by_score && top_k_ > scores.size(1))
    throw UsageError("metrics", fmt::format("Accuracy: top_k is {}, there are {} classes", top_k_, scores.size(1)));
  if (scores.size(0) == 0) return;

  const auto hits = top_k_ > 1 ? std::get<1>(scores.detach().topk(top_k_, 1, true, /*sorted=*/false)).eq(labels.unsqueeze(1))
                    : by_score ? scores.detach().argmax(1).eq(labels)
                               : scores.eq(labels);
  correct_.value.add_(hits.sum());
  total_.value.add_(scores.size(0));
}

Tensor Accuracy::compute() const { return correct_.value.to(at::kDouble).div(total_.value); }

}  // namespace levin
