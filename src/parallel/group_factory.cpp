#include "group_factory.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "levin/comm/host_values.h"
#include "levin/core/error.h"

namespace levin {
namespace {

using Publish = GroupSharding::Publish;
using Reducer = GroupSharding::Reducer;
using Store = GroupSharding::Store;

// Of what the factory cuts from the arena of several devices.
int64_t arena_bytes(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding, bool offloads,
                    const ArenaSlots& slots) {
  int64_t total = 0;
  const auto add = [&](bool used, int64_t bytes) { total += used ? CollectiveArena::padded(bytes) : 0; };
  for (size_t g = 0; g < layout.size(); g++) {
    const auto& group = sharding[g];
    const int64_t whole = layout[g].bytes(layout[g].dtype), part = whole / group.shards;
    add(group.publish == Publish::all_gather, whole);
    add(group.reshards() && !offloads, part);
    add(group.trained && !group.drops_gradients(), whole);
    add(group.trained && !group.averages_in_place(), part);
  }
  for (const auto kind : {MemoryKind::parameters, MemoryKind::gradients})
    for (const auto& ring : arena_rings(layout, sharding, kind, slots).sizes) total += ring.slot_bytes * static_cast<int64_t>(ring.slots);
  return total;
}

// The window lives as long as a tensor on it.
Tensor tensor_on(const std::shared_ptr<SharedWindow>& window, int rank, int64_t numel, at::ScalarType dtype) {
  void* start = window->part(rank);
  return at::from_blob(
      start, {numel}, [window](void*) {}, at::TensorOptions(dtype));
}

// Memory that collectives use without copies, if there is room for it.
Tensor for_collectives(int64_t numel, at::ScalarType dtype, Communicator& communicator) {
  if (communicator.size() > 1) try {
      return communicator.allocate(numel, dtype);
    } catch (const IoError&) {  // on all ranks alike
    }
  return at::zeros({numel}, at::TensorOptions(dtype).device(communicator.device()));
}

// Every node allocates its own; if one has no room, all fail alike.
template <class Make>
auto on_every_node(const ProcessGroups& groups, OnNoSpace on_no_space, const Make& make) {
  auto& all = *groups.communicators().all;
  if (groups.ranks().hosts == 1) return make(*all.node(), on_no_space);
  auto result = make(*all.node(), OnNoSpace::return_null);
  if (all_min(all, result ? 1 : 0) != 0) return result;
  if (on_no_space == OnNoSpace::fail)
    throw IoError("a host's shared memory (such as /dev/shm) is too small for the parameters that its ranks share",
                  "enlarge its /dev/shm, or use another window_directory or private memory", "parallel");
  return decltype(result)();
}

class Factory {
 public:
  Factory(const ProcessGroups& groups, BufferPools& pools, MemoryMeter& meter, const FactoryOptions& options)
      : groups_(groups), communicators_(groups.communicators()), pools_(pools), meter_(meter), options_(options) {}

  // False without room.
  bool make_node_pool(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding) {
    std::vector<size_t> bytes;
    for (size_t g = 0; g < layout.size(); g++)
      if (sharding[g].store == Store::node_gathered) bytes.push_back(static_cast<size_t>(layout[g].bytes(sharding[g].compute_dtype)));
    pools_.node.reset();
    if (bytes.empty()) return true;
    pools_.node = on_every_node(groups_, options_.on_no_space,
                                [&](NodeGroup& node, OnNoSpace on_no_space) { return node.allocate_buffer_pool(bytes, on_no_space); });
    return pools_.node != nullptr;
  }

  // Between devices.
  void make_arena(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding) {
    pools_.parameters.clear(), pools_.gradients.clear();
    if (groups_.ranks().share_memory || communicators_.shard->size() == 1) return;
    const int64_t bytes = arena_bytes(layout, sharding, offloads(), options_.slots);
    if (bytes == 0) return;
    arena_.emplace(*communicators_.shard, bytes);
    const auto make = [&](std::vector<std::unique_ptr<SlotRing>>& rings, std::vector<size_t>& of_group, MemoryKind kind) {
      auto [sizes, indices] = arena_rings(layout, sharding, kind, options_.slots);
      make_rings(rings, kind, sizes);
      of_group = std::move(indices);
    };
    make(pools_.parameters, ring_of_parameters_, MemoryKind::parameters);
    make(pools_.gradients, ring_of_gradients_, MemoryKind::gradients);
  }

  // Null without room.
  std::unique_ptr<ParameterStore> store(size_t group, const GroupLayout& layout, const GroupSharding& sharding) {
    switch (sharding.store) {
      case Store::node_shared: return node_shared(layout, sharding);
      case Store::sharded: {
        FlatBuffer whole(layout.numel, sharding.compute_dtype, device(), MemoryKind::parameters, pools_.own);
        return std::make_unique<ShardedStore>(std::move(whole), shard(layout, sharding), owned(layout, sharding), communicators_,
                                              options_.labels.at(static_cast<size_t>(layout.unit)),
                                              ring_for(pools_.parameters, ring_of_parameters_, group));
      }
      case Store::node_gathered: {
        FlatBuffer whole(layout.numel, sharding.compute_dtype, MemoryKind::parameters, pools_.node, node_buffers_++,
                         first_of_node() ? &pools_.node_accounting : nullptr);
        return std::make_unique<NodeGatheredStore>(std::move(whole), shard(layout, sharding), owned(layout, sharding), communicators_,
                                                   options_.labels.at(static_cast<size_t>(layout.unit)));
      }
      default: break;
    }
    const bool gathers = sharding.publish == Publish::all_gather;
    Tensor whole = gathers ? for_shards(layout.numel, layout.dtype) : zeros(layout.numel, layout.dtype);
    charge(MemoryKind::parameters, whole);
    return std::make_unique<ReplicatedStore>(std::move(whole), owned(layout, sharding), communicators_, gathers);
  }

  // Null without room.
  std::unique_ptr<GradientReducer> reducer(size_t group, const GroupLayout& layout, const GroupSharding& sharding) {
    const Range owned_range = owned(layout, sharding);
    std::vector<Tensor> peers;
    Tensor gradients;
    FlatBuffer buffer;
    switch (sharding.reducer) {
      case Reducer::sharded: buffer = FlatBuffer(layout.numel, sharding.gradient_dtype, device(), MemoryKind::gradients, pools_.own); break;
      case Reducer::peer_read:
        peers = peer_windows(layout);
        if (peers.empty()) return nullptr;
        gradients = peers[static_cast<size_t>(communicators_.all->node()->rank())];
        for (auto& peer : peers) peer = peer.narrow(0, owned_range.begin, owned_range.size());
        break;
      default: gradients = whole_gradients(layout, sharding);
    }
    if (!gradients.defined() && !buffer.defined()) return nullptr;
    if (gradients.defined()) charge(MemoryKind::gradients, gradients);
    Tensor mean = sharding.averages_in_place() ? gradients
                  : arena_                     ? arena_->cut(owned_range.size(), layout.dtype)
                                               : zeros(owned_range.size(), layout.dtype);
    if (!sharding.averages_in_place()) charge(MemoryKind::gradients, mean);
    switch (sharding.reducer) {
      case Reducer::sharded: return sharded_reducer(group, std::move(buffer), std::move(mean), layout, sharding);
      case Reducer::peer_read:
        return std::make_unique<PeerReadReducer>(std::move(gradients), std::move(mean), communicators_, std::move(peers));
      case Reducer::reduce_scatter: return std::make_unique<ReduceScatterReducer>(std::move(gradients), std::move(mean), communicators_);
      case Reducer::all_reduce: return std::make_unique<AllReduceReducer>(std::move(gradients), std::move(mean), communicators_);
      default: return std::make_unique<LocalReducer>(std::move(gradients), std::move(mean), communicators_);
    }
  }

 private:
  c10::Device device() const { return communicators_.all->device(); }
  bool offloads() const { return options_.offload_parameters && !device().is_cpu(); }
  bool first_of_node() const { return communicators_.all->node()->rank() == 0; }
  void charge(MemoryKind kind, const Tensor& tensor) { meter_.add(kind, static_cast<int64_t>(tensor.nbytes())); }
  Tensor zeros(int64_t numel, at::ScalarType dtype) const { return at::zeros({numel}, at::TensorOptions(dtype).device(device())); }
  // Memory for collectives of the shard group.
  Tensor for_shards(int64_t numel, at::ScalarType dtype) {
    return arena_ ? arena_->cut(numel, dtype) : for_collectives(numel, dtype, *communicators_.shard);
  }
  void make_rings(std::vector<std::unique_ptr<SlotRing>>& rings, MemoryKind kind, const std::vector<RingSize>& sizes) {
    for (const auto& [slot_bytes, slots] : sizes) {
      std::vector<Tensor> memory;
      for (size_t i = 0; i < slots; i++) {
        memory.push_back(arena_->cut(slot_bytes, at::kByte));
        charge(kind, memory.back());
      }
      rings.push_back(std::make_unique<SlotRing>(std::move(memory)));
    }
  }
  // Null without an arena.
  static SlotRing* ring_for(const std::vector<std::unique_ptr<SlotRing>>& rings, const std::vector<size_t>& of_group, size_t group) {
    return of_group.empty() ? nullptr : rings.at(of_group[group]).get();
  }
  Range owned(const GroupLayout& layout, const GroupSharding& sharding) const {
    return sharding.shards > 1 ? layout.shard(communicators_.shard->rank(), sharding.shards) : Range{0, layout.numel};
  }

  Tensor shard(const GroupLayout& layout, const GroupSharding& sharding) {
    const int64_t numel = owned(layout, sharding).size();
    Tensor part = offloads() ? at::zeros({numel}, at::TensorOptions(layout.dtype)) : for_shards(numel, layout.dtype);
    charge(MemoryKind::parameters, part);
    return part;
  }

  std::unique_ptr<GradientReducer> sharded_reducer(size_t group, FlatBuffer gradients, Tensor mean, const GroupLayout& layout,
                                                   const GroupSharding& sharding) {
    const auto dtype = sharding.reduce_dtype;
    auto* ring = ring_for(pools_.gradients, ring_of_gradients_, group);
    FlatBuffer converted;
    if (ring && dtype != sharding.gradient_dtype) converted = FlatBuffer(layout.numel, dtype, device(), MemoryKind::gradients, pools_.own);
    return std::make_unique<ShardedReducer>(std::move(gradients), std::move(mean), communicators_, layout, dtype, ring,
                                            std::move(converted));
  }

  std::unique_ptr<ParameterStore> node_shared(const GroupLayout& layout, const GroupSharding& sharding) {
    const auto bytes = static_cast<size_t>(first_of_node() ? layout.bytes(layout.dtype) : 0);
    const auto window = on_every_node(groups_, options_.on_no_space,
                                      [&](NodeGroup& node, OnNoSpace on_no_space) { return node.allocate(bytes, on_no_space); });
    if (!window) return nullptr;
    meter_.add(MemoryKind::parameters, static_cast<int64_t>(bytes));
    return std::make_unique<NodeSharedStore>(tensor_on(window, 0, layout.numel, layout.dtype), owned(layout, sharding), communicators_,
                                             groups_.ranks().hosts > 1);
  }

  // Undefined without room for what must not be private memory, since the node's ranks exchange data through it.
  Tensor whole_gradients(const GroupLayout& layout, const GroupSharding& sharding) {
    if (sharding.reducer == Reducer::local) return zeros(layout.numel, layout.dtype);
    if (sharding.store != Store::node_shared) return for_shards(layout.numel, layout.dtype);
    try {
      return communicators_.all->allocate(layout.numel, layout.dtype);
    } catch (const IoError&) {  // on all ranks alike
      if (options_.on_no_space == OnNoSpace::fail) throw;
      return {};
    }
  }

  std::vector<Tensor> peer_windows(const GroupLayout& layout) {
    auto& node = *communicators_.all->node();
    const auto window = node.allocate(static_cast<size_t>(layout.bytes(layout.dtype)), options_.on_no_space);
    std::vector<Tensor> peers;
    for (int rank = 0; window && rank < node.size(); rank++) peers.push_back(tensor_on(window, rank, layout.numel, layout.dtype));
    return peers;
  }

  const ProcessGroups& groups_;
  const GroupCommunicators& communicators_;
  BufferPools& pools_;
  MemoryMeter& meter_;
  const FactoryOptions& options_;
  size_t node_buffers_ = 0;
  std::optional<CollectiveArena> arena_;  // its pieces keep its memory
  std::vector<size_t> ring_of_parameters_, ring_of_gradients_;
};

}  // namespace

// A unit has one group, or two. One more unit is unsharded than is prefetched, and another while it is resharded; gradients of one unit are
// collected while those of others are reduced, and another has its first.
ArenaSlots arena_slots(const ShardingPlan& plan, const Ranks& ranks) {
  const auto schedule = StepSchedule::options_of(plan, ranks);
  const size_t groups_of_unit = plan.matrix_dtype() ? 2 : 1;
  ArenaSlots slots;
  if (schedule.reshard_after_forward) slots.parameters = (schedule.prefetch + 2) * groups_of_unit;
  if (schedule.reduce_every_backward) slots.gradients = schedule.in_flight + 2 * groups_of_unit;
  return slots;
}

ArenaRings arena_rings(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding, MemoryKind kind,
                       const ArenaSlots& slots) {
  const bool parameters = kind == MemoryKind::parameters;
  const auto bytes_of = [&](size_t g) {
    return CollectiveArena::padded(layout[g].bytes(parameters ? sharding[g].compute_dtype : sharding[g].reduce_dtype));
  };
  const bool has_units = std::any_of(layout.begin(), layout.end(), [](const auto& group) { return group.unit != 0; });
  ArenaRings rings{{}, std::vector<size_t>(layout.size(), ArenaRings::none)};
  std::vector<size_t> sharing;
  for (size_t g = 0; g < layout.size(); g++) {
    if (parameters ? !sharding[g].reshards() : !sharding[g].trained || !sharding[g].drops_gradients()) continue;
    // A model's head has the first gradients of a backward, and its embedding the last: what is outside of units holds a slot throughout.
    if (!parameters && has_units && layout[g].unit == 0) {
      rings.of_group[g] = rings.sizes.size();
      rings.sizes.push_back({bytes_of(g), 1});
    } else {
      sharing.push_back(g);
    }
  }
  std::vector<int64_t> bytes;
  bytes.reserve(sharing.size());
  for (const size_t g : sharing) bytes.push_back(bytes_of(g));
  const auto first = static_cast<std::ptrdiff_t>(rings.sizes.size());
  for (const auto& ring : ring_sizes(bytes, parameters ? slots.parameters : slots.gradients)) rings.sizes.push_back(ring);
  for (const size_t g : sharing) {
    const auto fits = [&](const RingSize& ring) { return ring.slot_bytes >= bytes_of(g); };
    const auto ring = std::find_if(rings.sizes.begin() + first, rings.sizes.end(), fits);
    rings.of_group[g] = static_cast<size_t>(ring - rings.sizes.begin());
  }
  return rings;
}

std::vector<GroupStorage> allocate_groups(const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding,
                                          const ProcessGroups& groups, BufferPools& pools, MemoryMeter& meter,
                                          const FactoryOptions& options) {
  Factory factory(groups, pools, meter, options);
  if (!factory.make_node_pool(layout, sharding)) return {};
  factory.make_arena(layout, sharding);
  std::vector<GroupStorage> result;
  for (size_t g = 0; g < layout.size(); g++) {
    GroupStorage storage{factory.store(g, layout[g], sharding[g]), nullptr};
    if (!storage.store) return {};
    if (layout[g].trained) {
      storage.reducer = factory.reducer(g, layout[g], sharding[g]);
      if (!storage.reducer) return {};
    }
    result.push_back(std::move(storage));
  }
  return result;
}

}  // namespace levin
