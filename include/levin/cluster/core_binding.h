#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/cluster/batch_job.h"
#include "levin/comm/host_values.h"
#include "levin/core/environment.h"

namespace levin {

class MpiRuntime;
class Topology;

/// A rank's part of the cores of its host, by their position in hwloc's order.
struct CoreShare {
  int first = 0, count = 0;
};

/// Divides cores that `ranks` ranks of a host may all use, equally; spare cores stay free. `domains`: the NUMA domain of each core, in
/// hwloc's order. If every domain has as many cores and an equal number of ranks, no share spans two. Empty if there are fewer cores than
/// ranks. For 10 cores in two domains and 4 ranks: {0, 2}, {2, 2}, {5, 2}, {7, 2}.
std::vector<CoreShare> divide_cores(const std::vector<int>& domains, int ranks);

/// The processors (hardware threads) of this host that the batch system gave to the job; null if the variables do not say.
std::optional<int64_t> processors_of_job(const BatchJob& job, const GetVariable& get_variable);

/// Binds each rank to its share of the cores where no launcher has bound the ranks of a host: several ranks may use the same cores, at
/// least one each, and the batch system gave all of these cores to the job. A host that other jobs may use is left as it is, and so are a
/// rank that is alone on its host, and ranks whose threads OpenMP binds (OMP_PROC_BIND, OMP_PLACES, GOMP_CPU_AFFINITY). Call it before
/// Topology::discover. Collective. Returns what this rank was bound to, for the log; empty: nothing was bound.
std::string bind_ranks(const MpiRuntime& runtime, const BatchJob& job, const GetVariable& get_variable);

/// Ranks of a host that have fewer cores in common than they are.
struct CrowdedCores {
  std::string host;
  std::vector<int> ranks, cores;
  int cores_in_use = 0;  ///< of the host, by all ranks of the job
};
std::vector<CrowdedCores> find_crowded_cores(const Topology& topology);

/// A rank's own numbers.
struct RankResources {
  int64_t threads = 1;  ///< it computes with
  int64_t devices = 0;  ///< of the accelerator that it can see; 0: it computes on cores
};
/// Mistakes in the placement of ranks, the same on all of them: ranks that share a core while others are free, more threads than cores
/// while others are free, devices without a rank. At most one for each host and mistake. Collective.
std::vector<std::string> placement_warnings(ValueRanks ranks, const Topology& topology, const RankResources& mine);

}  // namespace levin
