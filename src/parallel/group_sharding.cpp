#include "group_sharding.h"

namespace levin {
namespace {

using Publish = GroupSharding::Publish;
using Reducer = GroupSharding::Reducer;
using Store = GroupSharding::Store;

Store store_of(const Placements& placed) {
  switch (placed.parameters) {
    case Placement::node_shared: return Store::node_shared;
    case Placement::sharded: return placed.gathered_per_node ? Store::node_gathered : Store::sharded;
    default: return Store::replicated;
  }
}

Reducer reducer_of(const Placements& placed, const Ranks& ranks) {
  if (ranks.all == 1) return Reducer::local;
  if (placed.gradients == Placement::sharded) return Reducer::sharded;
  if (placed.optimizer != Placement::sharded) return Reducer::all_reduce;
  return placed.parameters == Placement::node_shared && ranks.hosts == 1 ? Reducer::peer_read : Reducer::reduce_scatter;
}

Publish publish_of(const GroupSharding& group, const Ranks& ranks) {
  if (!group.trained || group.averages_in_place() || group.reshards()) return Publish::none;
  if (group.store == Store::replicated) return Publish::all_gather;
  return ranks.hosts == 1 ? Publish::barrier : Publish::gather_shared;
}

}  // namespace

c10::ScalarType scalar_type_of(TransferDtype dtype) {
  return dtype == TransferDtype::bfloat16  ? c10::ScalarType::BFloat16
         : dtype == TransferDtype::float16 ? c10::ScalarType::Half
                                           : c10::ScalarType::Float;
}

bool overlaps_communication(const Ranks& ranks) { return ranks.all > 1 && (!ranks.share_memory || ranks.hosts > 1); }

LayoutOptions layout_options(const ShardingPlan& plan, int64_t alignment_bytes) {
  return {.ranks = plan.ranks,
          .alignment_bytes = alignment_bytes,
          .separate_matrices = plan.matrix_dtype().has_value(),
          .by_unit = plan.by_unit()};
}

GroupSharding shard_group(const GroupLayout& layout, const ShardingPlan& plan, const Ranks& ranks) {
  const Placements placed = plan.of_unit(layout.unit);
  GroupSharding group{.store = store_of(placed), .reducer = reducer_of(placed, ranks), .trained = layout.trained};
  group.publish = publish_of(group, ranks);
  group.reduces_early = overlaps_communication(ranks) && group.trained && !group.drops_gradients();
  group.shards = plan.shards_updates() ? plan.shard_ranks : 1;
  group.replicas = plan.replicas();
  group.dtype = group.compute_dtype = layout.dtype;
  if (group.reshards() && plan.options.param_dtype && c10::isFloatingType(layout.dtype))
    group.compute_dtype = scalar_type_of(*plan.options.param_dtype);
  group.reduce_dtype = group.compute_dtype;
  // Autocast would round these matrices anyway, and widen their gradients before the sum.
  if (const auto dtype = plan.matrix_dtype(); dtype && group.reshards() && layout.matrices && layout.dtype == c10::ScalarType::Float)
    group.compute_dtype = *dtype;
  if (group.drops_gradients() && plan.options.reduce_dtype) group.reduce_dtype = scalar_type_of(*plan.options.reduce_dtype);
  // Of several backwards, as their shards are where every backward reduces.
  const bool accumulates = group.drops_gradients() && !plan.options.reduce_every_backward;
  const bool narrow = c10::elementSize(group.compute_dtype) < c10::elementSize(group.dtype);
  group.gradient_dtype = accumulates && narrow ? group.dtype : group.compute_dtype;
  return group;
}

}  // namespace levin
