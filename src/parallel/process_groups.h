#pragma once
#include <memory>

#include "levin/comm/mesh.h"
#include "levin/parallel/sharding_plan.h"

namespace levin {

/// The communicators that flat groups use.
struct GroupCommunicators {
  Communicator* all = nullptr;       ///< of mesh.loss(): gradients are summed over it
  Communicator* shard = nullptr;     ///< the ranks that hold one copy of sharded state together
  Communicator* replicas = nullptr;  ///< the ranks that hold the same shard of other copies; null: there is one copy
};

/// The mesh's groups as a sharding plan uses them.
class ProcessGroups {
 public:
  /// `mesh` outlives it.
  explicit ProcessGroups(Mesh& mesh);

  const Ranks& ranks() const noexcept { return ranks_; }
  Mesh& mesh() const noexcept { return *mesh_; }
  /// Makes the shard and replica groups of a plan. Collective.
  void split(const ShardingPlan& plan);
  const GroupCommunicators& communicators() const noexcept { return communicators_; }
  /// Finds a rank of a shard group that still waits in a unit, before the exchange of all ranks. Collective, on CPUs: on devices it would
  /// wait for all work that was started.
  void synchronize_shards();

 private:
  Mesh* mesh_;
  Ranks ranks_;
  bool split_ = false;
  GroupCommunicators communicators_;
};

}  // namespace levin
