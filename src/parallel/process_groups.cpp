#include "process_groups.h"

namespace levin {

ProcessGroups::ProcessGroups(Mesh& mesh)
    : mesh_(mesh),
      ranks_(ranks_of(mesh.layout(), mesh.world().node() != nullptr)),
      communicators_{&mesh.loss_communicator(), &mesh.loss_communicator(), nullptr} {}

void ProcessGroups::split(const ShardingPlan& plan) {
  auto& all = mesh_.loss_communicator();
  communicators_ = {&all, &all, nullptr};
  several_copies_ = plan.shards_updates() && plan.shard_ranks != all.size();
  if (!several_copies_) return;
  mesh_.shard_over(plan.shard_ranks);
  communicators_.shard = mesh_.shard_communicator(), communicators_.replicas = mesh_.replica_communicator();
}

void ProcessGroups::synchronize_shards() {
  auto& shard = *communicators_.shard;
  if (several_copies_ && shard.device().is_cpu()) shard.barrier();
}

}  // namespace levin
