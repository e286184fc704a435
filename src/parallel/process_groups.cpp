#include "process_groups.h"

namespace levin {

ProcessGroups::ProcessGroups(Mesh& mesh)
    : mesh_(&mesh),
      ranks_(ranks_of(mesh.layout(), mesh.world().node() != nullptr)),
      communicators_{&mesh.loss_communicator(), &mesh.loss_communicator(), nullptr} {}

void ProcessGroups::split(const ShardingPlan& plan) {
  auto* all = communicators_.all;
  communicators_ = {all, all, nullptr};
  split_ = plan.replicas() > 1;
  if (!split_) return;
  mesh_->shard_over(plan.shard_ranks);
  communicators_.shard = mesh_->shard_communicator(), communicators_.replicas = mesh_->replica_communicator();
}

void ProcessGroups::synchronize_shards() {
  if (split_ && communicators_.shard->device().is_cpu()) communicators_.shard->barrier();
}

}  // namespace levin
