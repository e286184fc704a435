#pragma once
#include <memory>

#include "levin/comm/communicator.h"
#include "levin/parallel/sharding_plan.h"

namespace levin {

/// The communicators that flat groups use.
struct GroupCommunicators {
  Communicator* all = nullptr;
  Communicator* shard = nullptr;     ///< the ranks that hold one copy of sharded state together
  Communicator* replicas = nullptr;  ///< the ranks that hold the same shard of other copies; null: there is one copy
};

/// Which ranks shard and which replicate. The only place that computes with rank numbers.
class ProcessGroups {
 public:
  /// Collective: counts hosts.
  explicit ProcessGroups(Communicator& all);

  const Ranks& ranks() const noexcept { return ranks_; }
  /// Makes the shard and replica groups of a plan. Collective.
  void split(const ShardingPlan& plan);
  const GroupCommunicators& communicators() const noexcept { return communicators_; }
  /// Finds a rank of a shard group that still waits in a unit, before all ranks meet. Collective, on CPUs: on devices it would wait for
  /// all work that was started.
  void synchronize_shards();

 private:
  Ranks ranks_;
  std::unique_ptr<Communicator> shard_, replicas_;
  GroupCommunicators communicators_;
};

}  // namespace levin
