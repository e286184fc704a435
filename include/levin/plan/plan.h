#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "levin/parallel/sharding_plan.h"
#include "levin/plan/cluster_config.h"
#include "levin/plan/plan_model.h"

namespace levin {

/// What a rank computes in a step.
struct Workload {
  double flops = 0;           ///< of a micro-batch's forward and backward
  int64_t micro_batches = 1;  ///< per step
  bool clip_by_norm = false;
};

/// Bytes of a rank's parameters, gradients and optimizer state at their common peak.
struct RankMemory {
  int64_t parameters = 0, gradients = 0, optimizer = 0;
  int64_t total() const noexcept { return parameters + gradients + optimizer; }
};

struct MemoryPlan {
  RankMemory first;  ///< of each node's first rank, which is charged with what the node shares
  RankMemory other;  ///< of each other rank
  int64_t node(int64_t ranks) const noexcept { return first.total() + (ranks - 1) * other.total(); }
};

enum class CollectiveOp { all_reduce, reduce_scatter, all_gather, gather_shared, read_peers, exchange, barrier };
const char* name_of(CollectiveOp op) noexcept;
/// The ranks of a collective: all of them, those that hold one copy together, or those that hold the same shard of each copy.
enum class MeshRole { loss, shards, replicas };

/// A collective of a step.
struct PlannedCollective {
  CollectiveOp op = CollectiveOp::barrier;
  MeshRole role = MeshRole::loss;
  int64_t bytes = 0;                ///< of the whole tensor, of which each rank gives or gets all or its part
  int64_t bytes_between_nodes = 0;  ///< of the whole as it is summed between nodes: fp16 and bf16 travel as fp32
  bool in_window = false;           ///< the tensor lies in memory that all ranks of a node can read
};

/// The shape of the communicators of one role.
struct GroupShape {
  int64_t hosts = 1, local = 1;
  int64_t concurrent_groups = 1;  ///< communicators of this role that share a node, and its links
  int64_t ranks() const noexcept { return hosts * local; }
};

struct StepTime {
  double compute_seconds = 0;        ///< forward and backward
  double communication_seconds = 0;  ///< that the computation waits for
  double update_seconds = 0;
  double total() const noexcept { return compute_seconds + communication_seconds + update_seconds; }
};

/// What a sharding plan needs for a model on a cluster. Arithmetic: no memory, no communicator.
struct Plan {
  ShardingPlan sharding;
  MemoryPlan memory;
  std::vector<PlannedCollective> collectives;  ///< of one step, in the order in which a rank starts them
  StepTime time;
};

/// The ranks of a cluster.
Ranks ranks_of(const ClusterConfig& cluster);
/// The places of each role, by MeshRole.
using RoleShapes = std::array<GroupShape, 3>;
RoleShapes role_shapes(const ShardingPlan& sharding, const ClusterConfig& cluster);
Plan make_plan(const PlanModel& model, const ShardingPlan& sharding, const ClusterConfig& cluster, const Workload& work,
               int64_t alignment_bytes = 64);
/// Memory alone. `ranks` may have hosts of different sizes.
MemoryPlan plan_memory(const PlanModel& model, const ShardingPlan& sharding, const Ranks& ranks, int64_t micro_batches = 1,
                       int64_t alignment_bytes = 64);
/// The collectives of the first step and of the ones after it, which prefetch, in the order in which a rank starts them.
std::vector<std::vector<PlannedCollective>> plan_collectives(const PlanModel& model, const ShardingPlan& sharding, const Ranks& ranks,
                                                             const Workload& work, int steps, int64_t alignment_bytes = 64);
/// Seconds of a collective by itself.
double collective_seconds(const PlannedCollective& collective, const GroupShape& shape, const ClusterConfig& cluster);
/// Whether a plan's memory fits into the cluster's devices, or into nodes with `node_bytes`. `reserved` bytes per rank are for anything
/// else, such as activations.
bool fits(const MemoryPlan& memory, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved = 0);
/// The fastest of the plans that fit, the first among equals; null: none fits.
const Plan* fastest_that_fits(const std::vector<Plan>& plans, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved = 0);
/// The strategies that `auto` considers, by name: ddp, zero1, zero2, fsdp.
std::vector<std::pair<std::string, StrategyConfig>> planned_strategies();

/// The time model was compared with a simulator up to this number of ranks.
constexpr int64_t most_ranks_checked = 64;

}  // namespace levin
