#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/parallel/cluster_config.h"
#include "levin/parallel/form.h"
#include "levin/parallel/layout.h"
#include "levin/parallel/memory_meter.h"

namespace levin {

/// What a plan needs to know of a unit of the model.
struct PlannedUnit {
  std::string name;
  int parent = 0;
  bool checkpointed = false;  ///< its forward is repeated in the backward
};

/// What a plan needs to know of a model: no tensor, no memory.
struct PlanModel {
  std::vector<ParameterInfo> parameters;  ///< in the model's order, which is taken for the order of use
  std::vector<PlannedUnit> units{{}};     ///< the root first, a unit behind the one around it
  std::vector<int> state_tensors{0};      ///< that each optimizer keeps of a parameter
  std::vector<int> calls = {};            ///< units of the root in the order of their forwards, where it is not that of the parameters
  std::vector<int> absent = {};           ///< parameters that no forward uses

  int64_t numel() const;
};

/// What a rank computes in a step.
struct PlanWork {
  double flops = 0;           ///< of a micro-batch's forward and backward
  int64_t micro_batches = 1;  ///< of a step
  bool clip_by_norm = false;
};

/// Bytes of a rank's parameters, gradients and optimizer state when they are most.
struct RankMemory {
  int64_t parameters = 0, gradients = 0, optimizer = 0;
  int64_t total() const noexcept { return parameters + gradients + optimizer; }
};

struct MemoryPlan {
  RankMemory first;  ///< the first rank of each node, which owns what the node shares
  RankMemory other;  ///< the others
  int64_t node(int64_t ranks) const noexcept { return first.total() + (ranks - 1) * other.total(); }
};

enum class CollectiveOp { all_reduce, reduce_scatter, all_gather, gather_shared, read_peers, exchange, barrier };
const char* name_of(CollectiveOp op) noexcept;
/// Who takes part: all ranks, those that hold one copy together, or those that hold the same part of each copy.
enum class Among { all, shard, replicas };

/// A collective of a step. `bytes` is the size of the whole tensor, of which each rank gives or gets all or a part.
struct PlannedCollective {
  CollectiveOp op = CollectiveOp::barrier;
  Among among = Among::all;
  int64_t bytes = 0;
  int64_t bytes_between_nodes = 0;  ///< of the whole as it is summed there: fp16 and bf16 travel as fp32
  bool in_window = false;           ///< the tensor lies where all ranks of a node can read it
};

/// The ranks of one of these communicators, each of which has the same shape.
struct Places {
  int64_t hosts = 1, local = 1;
  int64_t beside = 1;  ///< such communicators of a node that are busy at the same time
  int64_t ranks() const noexcept { return hosts * local; }
};

struct StepTime {
  double compute_seconds = 0;        ///< forward and backward
  double communication_seconds = 0;  ///< that the computation waits for
  double update_seconds = 0;
  double total() const noexcept { return compute_seconds + communication_seconds + update_seconds; }
};

/// What a form of the engine needs for a model on a cluster; arithmetic.
struct Plan {
  Form form;
  MemoryPlan memory;
  std::vector<PlannedCollective> collectives;  ///< of one step, in order
  StepTime time;
};

/// The ranks of a cluster.
Ranks ranks_of(const ClusterConfig& cluster);
MeshLayout mesh_of(const ClusterConfig& cluster);
/// Of the ranks that take part, by Among.
std::array<Places, 3> places_of(const Form& form, const ClusterConfig& cluster);
Plan make_plan(const PlanModel& model, const Form& form, const ClusterConfig& cluster, const PlanWork& work, int64_t alignment_bytes = 64);
/// Memory alone. `ranks` may have hosts of different sizes.
MemoryPlan plan_memory(const PlanModel& model, const Form& form, const Ranks& ranks, int64_t micro_batches = 1,
                       int64_t alignment_bytes = 64);
/// Seconds of a collective by itself.
double collective_seconds(const PlannedCollective& collective, const Places& places, const ClusterConfig& cluster);
/// Whether a plan's memory is no more than there is; `reserved` bytes of each rank are for other things, such as activations.
bool fits(const MemoryPlan& memory, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved = 0);
/// The fastest of the plans that fit; of equally fast ones the first. Null: none fits.
const Plan* fastest_that_fits(const std::vector<Plan>& plans, const ClusterConfig& cluster, int64_t node_bytes, int64_t reserved = 0);
/// What `auto` considers, by name: ddp, zero1, zero2, fsdp.
std::vector<std::pair<std::string, StrategyConfig>> planned_strategies();
/// Bytes that new memory of this machine may have: what is free or can be freed, within the limit of the control group.
int64_t available_memory();
/// Of the NUMA domain that the calling thread runs on; the host's where the system does not say.
int64_t available_memory_of_domain();

/// "1.25 GB", in powers of 1000.
std::string bytes_text(int64_t bytes);

/// More ranks than the time model was compared with a simulator.
constexpr int64_t most_ranks_checked = 64;

}  // namespace levin
