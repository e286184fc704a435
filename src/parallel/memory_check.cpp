#include "memory_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"

namespace levin::detail {

MemoryCheck::MemoryCheck(PlanModel model, const Form& form, const Ranks& ranks, int64_t alignment_bytes)
    : model_(std::move(model)), form_(form), ranks_(ranks), alignment_bytes_(alignment_bytes) {}

// Where hosts differ, the fullest has fewer than all ranks but one a host.
int64_t MemoryCheck::ranks_of_node() const noexcept { return ranks_.of_host > 0 ? ranks_.of_host : std::max(1, ranks_.all / ranks_.hosts); }

int64_t MemoryCheck::needed(const Form& form) const { return plan_memory(model_, form, ranks_, 1, alignment_bytes_).node(ranks_of_node()); }

std::optional<MemoryCheck::Alternative> MemoryCheck::strategy_within(int64_t bytes) const {
  for (const auto& [name, config] : planned_strategies()) {
    const Form form = choose_form(config, ranks_);
    if (form.name == form_.name && form.lifetimes == form_.lifetimes) continue;
    if (const int64_t its = needed(form); its <= bytes) return Alternative{name, form, its};
  }
  return std::nullopt;
}

void MemoryCheck::refuse(int64_t there, const std::optional<Alternative>& other) const {
  const auto plan = plan_memory(model_, form_, ranks_, 1, alignment_bytes_).first;
  throw ConfigError(
      fmt::format(
          "{} needs {} on a node for {} ranks' parameters, gradients and optimizer state ({}, {} and {} on its first), and {} are free",
          form_.describe(), bytes_text(needed()), ranks_of_node(), bytes_text(plan.parameters), bytes_text(plan.gradients),
          bytes_text(plan.optimizer), bytes_text(there)),
      other ? fmt::format("use --trainer.strategy {}, which needs {}", other->name, bytes_text(other->needed))
            : "use more nodes, or a smaller model",
      "parallel");
}

int64_t memory_of_every_node(const std::vector<Tensor>& parameters, int64_t ranks_of_node, int64_t (*free_memory)(),
                             Communicator& communicator) {
  int64_t there = free_memory();
  for (const auto& parameter : parameters)
    there += static_cast<int64_t>(std::min(parameter.storage().nbytes(), parameter.nbytes())) * ranks_of_node;
  return all_min(communicator, there);
}

}  // namespace levin::detail
