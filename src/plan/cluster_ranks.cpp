#include <algorithm>

#include "levin/plan/plan.h"

namespace levin {

Ranks ranks_of(const ClusterConfig& cluster) {
  return {.all = static_cast<int>(cluster.ranks()),
          .hosts = static_cast<int>(cluster.nodes),
          .of_host = static_cast<int>(cluster.devices_per_node),
          .share_memory = !cluster.own_memory()};
}

Places places_of(MeshRole role, const ShardingPlan& sharding, const ClusterConfig& cluster) {
  const int64_t nodes = cluster.nodes, of_node = cluster.devices_per_node, part = sharding.shard_ranks, copies = sharding.ranks / part;
  if (role == MeshRole::loss || part == sharding.ranks) return role == MeshRole::replicas ? Places{} : Places{nodes, of_node, 1};
  const bool inside = part <= of_node && of_node % part == 0;
  if (role == MeshRole::shards)
    return inside ? Places{1, part, of_node / part} : Places{std::max<int64_t>(1, part / of_node), std::min(part, of_node), 1};
  return inside ? Places{nodes, of_node / part, part} : Places{copies, 1, of_node};
}

}  // namespace levin
