#include "levin/plan/plan.h"

#include "memory_simulation.h"
#include "plan_time.h"

namespace levin {

const char* name_of(CollectiveOp op) noexcept {
  switch (op) {
    case CollectiveOp::all_reduce: return "all_reduce";
    case CollectiveOp::reduce_scatter: return "reduce_scatter";
    case CollectiveOp::all_gather: return "all_gather";
    case CollectiveOp::gather_shared: return "gather_shared";
    case CollectiveOp::read_peers: return "read_peers";
    case CollectiveOp::exchange: return "exchange";
    default: return "barrier";
  }
}

MemoryPlan plan_memory(const PlanModel& model, const ShardingPlan& sharding, const Ranks& ranks, int64_t micro_batches,
                       int64_t alignment_bytes) {
  detail::StepSimulator simulator(model, sharding, ranks, {.micro_batches = micro_batches}, alignment_bytes);
  const auto first_step = simulator.step(), later_step = simulator.step();
  std::optional<ArenaSlots> slots;
  if (!ranks.share_memory && sharding.shard_ranks > 1) slots = arena_slots(sharding, ranks);
  const auto peak = [&](bool charged) {
    detail::MemorySimulation simulation(model, simulator.layout(), simulator.sharding(), charged, slots);
    simulation.play(first_step), simulation.play(later_step);
    return simulation.peak();
  };
  return {.first = peak(true), .other = peak(false)};
}

std::vector<std::vector<PlannedCollective>> plan_collectives(const PlanModel& model, const ShardingPlan& sharding, const Ranks& ranks,
                                                             const Workload& work, int steps, int64_t alignment_bytes) {
  detail::StepSimulator simulator(model, sharding, ranks, work, alignment_bytes);
  std::vector<std::vector<PlannedCollective>> collectives(static_cast<size_t>(steps));
  for (auto& step : collectives)
    for (const auto& event : simulator.step())
      if (event.kind == detail::StepEvent::Kind::start) step.push_back(event.collective);
  return collectives;
}

Plan make_plan(const PlanModel& model, const ShardingPlan& sharding, const ClusterConfig& cluster, const Workload& work,
               int64_t alignment_bytes) {
  const Ranks ranks = ranks_of(cluster);
  Plan plan;
  plan.sharding = sharding;
  plan.memory = plan_memory(model, sharding, ranks, work.micro_batches, alignment_bytes);
  detail::StepSimulator simulator(model, sharding, ranks, work, alignment_bytes);
  simulator.step();
  const auto events = simulator.step();
  for (const auto& event : events)
    if (event.kind == detail::StepEvent::Kind::start) plan.collectives.push_back(event.collective);
  plan.time = detail::step_time(events, model, sharding, cluster, work);
  return plan;
}

bool fits(const MemoryPlan& memory, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved) {
  if (cluster.own_memory()) return memory.first.total() + reserved <= cluster.device_memory->value;
  return memory.node(cluster.devices_per_node) + reserved * cluster.devices_per_node <= node_bytes;
}

const Plan* fastest_that_fits(const std::vector<Plan>& plans, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved) {
  constexpr double same = 0.999;
  const Plan* best = nullptr;
  for (const auto& plan : plans)
    if (fits(plan.memory, cluster, node_bytes, reserved) && (!best || plan.time.total() < same * best->time.total())) best = &plan;
  return best;
}

std::vector<std::pair<std::string, StrategyConfig>> planned_strategies() {
  return {{"ddp", DDP{}}, {"zero1", Zero1{}}, {"zero2", Zero2{}}, {"fsdp", FSDP{}}};
}

}  // namespace levin
