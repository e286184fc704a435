#include "memory_simulation.h"

namespace levin::detail {
namespace {

using Reducer = GroupSharding::Reducer;
using Store = GroupSharding::Store;

int64_t owned_bytes(const GroupLayout& layout, const GroupSharding& sharding) { return layout.bytes(sharding.dtype) / sharding.shards; }

}  // namespace

MemorySimulation::MemorySimulation(const PlanModel& model, const std::vector<GroupLayout>& layout,
                                   const std::vector<GroupSharding>& sharding, bool charged, const std::optional<ArenaSlots>& slots) {
  for (const auto kind : {MemoryKind::parameters, MemoryKind::gradients})
    if (slots)
      for (const auto& ring : arena_rings(layout, sharding, kind, *slots)) add(kind, ring.slot_bytes * static_cast<int64_t>(ring.slots));
  for (size_t g = 0; g < layout.size(); g++) allocate(layout[g], sharding[g], charged, slots.has_value());
  for (size_t g = 0; g < layout.size(); g++) {  // while values are taken over
    parameters_[g].fill(), gradients_[g].fill();
    note_peak();
    gradients_[g].drop(), parameters_[g].drop();
  }
  for (size_t g = 0; g < layout.size(); g++)
    if (layout[g].trained)
      add(MemoryKind::optimizer, model.state_tensors[static_cast<size_t>(layout[g].optimizer)] * owned_bytes(layout[g], sharding[g]));
}

void MemorySimulation::allocate(const GroupLayout& layout, const GroupSharding& sharding, bool charged, bool in_slots) {
  const auto meta = c10::Device(c10::kMeta);
  const int64_t bytes = layout.bytes(sharding.dtype);
  const auto buffer = [&](MemoryKind kind, BufferPool& pool) { return FlatBuffer(layout.numel, sharding.compute_dtype, meta, kind, pool); };
  parameters_.emplace_back(), gradients_.emplace_back();
  switch (sharding.store) {
    case Store::replicated: add(MemoryKind::parameters, bytes); break;
    case Store::node_shared: add(MemoryKind::parameters, charged ? bytes : 0); break;
    case Store::sharded:
      add(MemoryKind::parameters, owned_bytes(layout, sharding));
      if (!in_slots) parameters_.back() = buffer(MemoryKind::parameters, pool_);
      break;
    case Store::node_gathered:
      add(MemoryKind::parameters, owned_bytes(layout, sharding));
      if (charged) parameters_.back() = buffer(MemoryKind::parameters, node_pool_);
      break;
  }
  if (!layout.trained) return;
  if (!sharding.drops_gradients())
    add(MemoryKind::gradients, bytes);
  else if (!in_slots || sharding.reduce_dtype != sharding.compute_dtype)  // else they are collected in a slot
    gradients_.back() = buffer(MemoryKind::gradients, pool_);
  if (sharding.reducer != Reducer::local && sharding.reducer != Reducer::all_reduce)
    add(MemoryKind::gradients, owned_bytes(layout, sharding));
}

void MemorySimulation::play(const std::vector<StepEvent>& events) {
  for (const auto& event : events) {
    switch (event.kind) {
      case StepEvent::Kind::acquire_parameters: parameters_[event.group].fill(); break;
      case StepEvent::Kind::release_parameters: parameters_[event.group].drop(); break;
      case StepEvent::Kind::acquire_gradients: gradients_[event.group].fill(); break;
      case StepEvent::Kind::release_gradients: gradients_[event.group].drop(); break;
      default: break;
    }
    note_peak();
  }
}

void MemorySimulation::add(MemoryKind kind, int64_t bytes) {
  meter_.add(kind, bytes);
  note_peak();
}

void MemorySimulation::note_peak() {
  if (meter_.total() <= peak_.total()) return;
  peak_ = {meter_.now(MemoryKind::parameters), meter_.now(MemoryKind::gradients), meter_.now(MemoryKind::optimizer)};
}

}  // namespace levin::detail
