#pragma once
#include <c10/core/Device.h>
#include <nccl.h>

#include <string>
#include <vector>

#include "levin/comm/mpi_runtime.h"
#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"

namespace levin {

/// Sets the device. ConfigError on all ranks if two ranks of a host have the same one, for which NCCL's message is "invalid usage".
/// Collective.
void take_device(const MpiRuntime& runtime, NodeGroup& node, c10::Device device);

/// "rank 3 on host", by rank.
std::vector<std::string> rank_names(const Topology& topology);
/// "4 ranks on hosta, hostb", for the error of ranks that are missing.
std::string ranks_and_hosts(const Topology& topology);

/// The ids by which NCCL's ranks find each other, made by as many ranks, or a rank's error on all. Above 1,024 ranks NCCL 2.23 and newer
/// start faster with several. Collective.
std::vector<ncclUniqueId> share_ids(const MpiRuntime& runtime);
/// The number of ids for `ranks`; rank i * ranks / number makes the i-th.
int number_of_ids(int ranks);

}  // namespace levin
