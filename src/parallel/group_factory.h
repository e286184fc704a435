#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gradient_reducer.h"
#include "levin/comm/node_group.h"
#include "parameter_store.h"
#include "slot_ring.h"
#include "step_schedule.h"

namespace levin {

/// Memory that stores and reducers of all groups take turns in. Must outlive them.
struct BufferPools {
  explicit BufferPools(MemoryMeter& meter) : own(meter), node_accounting(meter) {}
  BufferPool own;
  BufferPool node_accounting;              ///< of the meta device: charges this rank with what `node` has
  std::shared_ptr<SharedBufferPool> node;  ///< of the ranks of this node, for NodeGatheredStore
  /// Of ranks that share no memory: where sharded groups are gathered and reduced.
  std::vector<std::unique_ptr<SlotRing>> parameters, gradients;
};

/// The state of one flat group, without the optimizer's.
struct GroupStorage {
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<GradientReducer> reducer;  ///< null: the group is not trained
};

/// Sharded groups that are unsharded, or have gradients, at a time.
struct ArenaSlots {
  size_t parameters = SIZE_MAX, gradients = SIZE_MAX;
};
ArenaSlots arena_slots(const ShardingPlan& plan, const Ranks& ranks);
/// The rings of the arena of ranks that share no memory, for parameters of sharded groups, or their gradients as they are sent.
struct ArenaRings {
  static constexpr size_t none = SIZE_MAX;
  std::vector<RingSize> sizes;
  std::vector<size_t> of_group;  ///< by group, the index of its ring, or none
};
ArenaRings arena_rings(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding, MemoryKind kind,
                       const ArenaSlots& slots);

struct FactoryOptions {
  bool offload_parameters = false;  ///< shards are in host memory
  OnNoSpace on_no_space = OnNoSpace::fail;
  std::vector<std::string> labels = {};  ///< of units, for their all-gathers
  ArenaSlots slots = {};
};

/// Allocates the groups of a layout, zero-filled, and charges them to `meter`. Collective. Where ranks share no memory, all that
/// collectives of a shard group use is one CollectiveArena. Where a node's shared memory is too small for a
/// store or reducer that needs it: IoError, or an empty vector, on all ranks, as `on_no_space` says.
std::vector<GroupStorage> allocate_groups(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding,
                                          const ProcessGroups& groups, BufferPools& pools, MemoryMeter& meter,
                                          const FactoryOptions& options);

}  // namespace levin
