#include "memory_check.h"

#include <ATen/ops/full.h>
#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"

namespace levin::detail {

MemoryCheck::MemoryCheck(PlanModel model, const Form& form, const Ranks& ranks, int64_t alignment_bytes)
    : model_(std::move(model)), form_(form), ranks_(ranks), alignment_bytes_(alignment_bytes) {}

// Where hosts differ, the fullest has fewer than all ranks but one a host.
int64_t MemoryCheck::ranks_of_node() const noexcept { return ranks_.of_host > 0 ? ranks_.of_host : std::max(1, ranks_.all / ranks_.hosts); }

int64_t MemoryCheck::needed(const Form& form) const { return plan_memory(model_, form, ranks_, 1, alignment_bytes_).node(ranks_of_node()); }

void MemoryCheck::refuse(int64_t there) const {
  std::string remedy = "use more nodes, or a smaller model";
  for (const auto& [name, config] : planned_strategies()) {
    const Form form = choose_form(config, ranks_);
    if (form.name == form_.name && form.lifetimes == form_.lifetimes) continue;
    if (const int64_t its = needed(form); its <= there) {
      remedy = fmt::format("use --trainer.strategy {}, which needs {}", name, bytes_text(its));
      break;
    }
  }
  const auto plan = plan_memory(model_, form_, ranks_, 1, alignment_bytes_).first;
  throw ConfigError(
      fmt::format(
          "{} needs {} on a node for {} ranks' parameters, gradients and optimizer state ({}, {} and {} on its first), and {} are free",
          form_.describe(), bytes_text(needed()), ranks_of_node(), bytes_text(plan.parameters), bytes_text(plan.gradients),
          bytes_text(plan.optimizer), bytes_text(there)),
      remedy, "parallel");
}

void check_memory(const MemoryCheck& check, const std::vector<Tensor>& parameters, Communicator& communicator) {
  int64_t there = 0;
  for (const auto& parameter : parameters)
    there += static_cast<int64_t>(std::min(parameter.storage().nbytes(), parameter.nbytes())) * check.ranks_of_node();
  there += available_memory();
  const Tensor least = at::full({1}, there, at::kLong);
  if (communicator.size() > 1) communicator.all_reduce(least, ReduceOp::min).wait();
  if (least.item<int64_t>() < check.needed()) check.refuse(least.item<int64_t>());
}

}  // namespace levin::detail
