#pragma once
#include <cstdint>
#include <functional>

#include "levin/parallel/model_shape.h"
#include "levin/parallel/sharding_plan.h"

namespace levin {

class Communicator;

/// The memory that Strategy::setup is about to allocate on every rank.
struct AllocationRequest {
  const ModelShape& model;
  const ShardingPlan& plan;
  Ranks ranks;
  int64_t alignment_bytes = 64;
  int64_t held_bytes = 0;         ///< by this rank's parameters today, which are freed when they move into flat groups
  bool may_change_plan = false;   ///< the strategy is `auto`
  bool can_shard_updates = true;  ///< false with a custom optimizer, which needs whole gradients on every rank
};

/// Checks a request before anything is allocated; see plan/memory_check.h. Returns the plan to use: the request's, or another that fits
/// where may_change_plan. ConfigError if no plan fits. Collective over `cpu`, with the same result on all ranks.
using MemoryCheck = std::function<ShardingPlan(const AllocationRequest& request, Communicator& cpu)>;

}  // namespace levin
