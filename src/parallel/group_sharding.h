#pragma once
#include "layout.h"
#include "levin/parallel/sharding_plan.h"

namespace levin {

c10::ScalarType scalar_type_of(TransferDtype dtype);

/// How one flat group is stored, reduced and published: what a ShardingPlan means for it. Resolved once, in group_sharding.cpp; the engine
/// makes a ParameterStore and a GradientReducer of it, a plan counts their bytes and collectives. Nobody else asks for placements.
struct GroupSharding {
  enum class Store {
    replicated,    ///< every rank has all parameters
    node_shared,   ///< one copy per node, in a shared window
    sharded,       ///< one shard per rank; the whole has memory from unshard to reshard
    node_gathered  ///< one shard per rank; the whole is a buffer that the ranks of a node share
  };
  enum class Reducer {
    local,           ///< one rank: nothing to reduce
    all_reduce,      ///< every rank gets the sum of all gradients
    reduce_scatter,  ///< every rank gets the sum of its shard
    peer_read,       ///< every rank adds up its shard from the windows of the ranks of its node
    sharded          ///< reduce-scatter in the backward, after which the whole gradients have no memory
  };
  /// How updated parameters reach the ranks that did not update them.
  enum class Publish { none, barrier, all_gather, gather_shared };

  Store store = Store::replicated;
  Reducer reducer = Reducer::local;
  Publish publish = Publish::none;
  bool trained = true;
  bool reduces_early = false;        ///< the reduction starts in the last backward of a step and overlaps it
  int shards = 1;                    ///< ranks among whom the update is divided; 1: every rank updates all
  int replicas = 1;                  ///< ranks that update the same shard, whose mean gradients are summed
  c10::ScalarType dtype{};           ///< of the parameters, their shards, mean gradients and optimizer state
  c10::ScalarType compute_dtype{};   ///< of the whole parameters, and of the gradients of a backward
  c10::ScalarType gradient_dtype{};  ///< that gradients are summed in on a rank until they are reduced
  c10::ScalarType reduce_dtype{};    ///< that gradients are summed in between ranks

  bool reshards() const noexcept { return store == Store::sharded || store == Store::node_gathered; }
  bool drops_gradients() const noexcept { return reducer == Reducer::sharded; }
  /// Whether a reduction starts inside a backward.
  bool reduces_in_backward() const noexcept { return reduces_early || drops_gradients(); }
  /// Whether the sum is where a rank's gradients were, without memory for the mean of a shard.
  bool averages_in_place() const noexcept { return reducer == Reducer::local || reducer == Reducer::all_reduce; }
};
GroupSharding shard_group(const GroupLayout& layout, const ShardingPlan& plan, const Ranks& ranks);

/// Whether collectives run in the background, on a thread or a device stream, while the rank computes. Inside a node on CPUs they do not.
bool overlaps_communication(const Ranks& ranks);
LayoutOptions layout_options(const ShardingPlan& plan, int64_t alignment_bytes);

}  // namespace levin
