#include "levin/plan/memory_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/plan/plan.h"

namespace levin {
namespace {

struct Alternative {
  std::string strategy;
  ShardingPlan plan;
  int64_t bytes;  // of a node
};

class NodeMemory {
 public:
  NodeMemory(const AllocationRequest& request, int64_t ranks_of_node)
      : request_(request), model_(request.model), ranks_of_node_(ranks_of_node) {}

  MemoryPlan planned(const ShardingPlan& plan) const { return plan_memory(model_, plan, request_.ranks, 1, request_.alignment_bytes); }
  int64_t needed(const ShardingPlan& plan) const { return planned(plan).node(ranks_of_node_); }

  std::optional<Alternative> strategy_within(int64_t bytes) const {
    for (const auto& [name, config] : planned_strategies()) {
      auto plan = resolve_strategy(config, request_.ranks, request_.plan.autocast_dtype);
      if (plan.name == request_.plan.name && plan.placements == request_.plan.placements) continue;
      if (const int64_t node = needed(plan); node <= bytes) return Alternative{name, std::move(plan), node};
    }
    return std::nullopt;
  }

  [[noreturn]] void refuse(int64_t free, const std::optional<Alternative>& other) const {
    const auto first = planned(request_.plan).first;
    throw ConfigError(
        fmt::format(
            "{} needs {} on a node for {} ranks' parameters, gradients and optimizer state ({}, {} and {} on its first), and {} are free",
            request_.plan.describe(), bytes_text(needed(request_.plan)), ranks_of_node_, bytes_text(first.parameters),
            bytes_text(first.gradients), bytes_text(first.optimizer), bytes_text(free)),
        other ? fmt::format("use --trainer.strategy {}, which needs {}", other->strategy, bytes_text(other->bytes))
              : "use more nodes, or a smaller model",
        "parallel");
  }

 private:
  const AllocationRequest& request_;
  PlanModel model_;
  int64_t ranks_of_node_;  // of the fullest
};

}  // namespace

MemoryCheck check_planned_memory(int64_t (*free_memory)(), Log log) {
  return [free_memory, log = std::move(log)](const AllocationRequest& request, Communicator& cpu) {
    const int64_t here = request.ranks.ranks_per_node > 0 ? request.ranks.ranks_per_node : cpu.node() ? cpu.node()->size() : 1;
    const NodeMemory memory(request, all_max(cpu, here));
    const int64_t usable = free_memory() + request.held_bytes * here;
    const int64_t free = all_min(cpu, usable);
    const int64_t needed = memory.needed(request.plan);
    if (free >= needed) return request.plan;
    const auto other = request.can_shard_updates ? memory.strategy_within(free) : std::nullopt;
    if (!request.may_change_plan || !other) memory.refuse(free, other);
    if (cpu.rank() == 0)
      log.info("[parallel] {} needs {} on a node, and {} are free: auto takes {}, which needs {}", request.plan.describe(),
               bytes_text(needed), bytes_text(free), other->strategy, bytes_text(other->bytes));
    return other->plan;
  };
}

}  // namespace levin
