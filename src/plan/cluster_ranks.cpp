#include <map>

#include "levin/plan/plan.h"

namespace levin {
namespace {

MeshLayout mesh_of(const ClusterConfig& cluster) {
  return MeshLayout::of_cluster(static_cast<int>(cluster.nodes), static_cast<int>(cluster.devices_per_node));
}

}  // namespace

Ranks ranks_of(const ClusterConfig& cluster) { return ranks_of(mesh_of(cluster), !cluster.own_memory()); }

RoleShapes role_shapes(const ShardingPlan& sharding, const ClusterConfig& cluster) {
  const auto mesh = mesh_of(cluster).sharded_over(sharding.shard_ranks);
  const auto shape = [&](const MeshGroup& group) {
    std::map<int, int64_t> members;  // by node
    for (const int rank : group.members) members[mesh.node_of(rank)]++;
    const int64_t local = members[mesh.node_of(0)];
    return GroupShape{static_cast<int64_t>(members.size()), local, cluster.devices_per_node / local};
  };
  return {shape(mesh.loss(0)), shape(mesh.shards(0)), shape(mesh.replicas(0))};
}

}  // namespace levin
