#include "memory_simulation.h"

#include <ATen/ops/empty.h>

namespace levin::detail {
namespace {

using Store = GroupSharding::Store;

int64_t owned_bytes(const GroupLayout& layout, const GroupSharding& sharding) { return layout.bytes(sharding.dtype) / sharding.shards; }

}  // namespace

MemorySimulation::MemorySimulation(const PlanModel& model, const std::vector<GroupLayout>& layout,
                                   const std::vector<GroupSharding>& sharding, bool charged, const std::optional<ArenaSlots>& slots) {
  std::vector<SlotRing*> of_parameters(layout.size()), of_gradients(layout.size());
  if (slots) {
    const auto sizes = [&](MemoryKind kind) { return arena_rings(layout, sharding, kind, *slots); };
    of_parameters = make_rings(MemoryKind::parameters, sizes(MemoryKind::parameters), parameter_rings_);
    of_gradients = make_rings(MemoryKind::gradients, sizes(MemoryKind::gradients), gradient_rings_);
  }
  for (auto* buffers : {&parameters_, &gradients_, &sent_}) buffers->reserve(layout.size());  // a ring knows a buffer by its address
  for (size_t g = 0; g < layout.size(); g++) allocate(layout[g], sharding[g], charged, of_parameters[g], of_gradients[g]);
  for (size_t g = 0; g < layout.size(); g++) {  // while values are taken over
    parameters_[g].fill(), gradients_[g].fill();
    note_peak();
    gradients_[g].drop(), parameters_[g].drop();
  }
  for (size_t g = 0; g < layout.size(); g++)
    if (layout[g].trained)
      add(MemoryKind::optimizer, model.state_tensors[static_cast<size_t>(layout[g].optimizer)] * owned_bytes(layout[g], sharding[g]));
}

std::vector<SlotRing*> MemorySimulation::make_rings(MemoryKind kind, const ArenaRings& sizes, Rings& rings) {
  for (const auto& [bytes, slots] : sizes.sizes) {
    add(kind, bytes * static_cast<int64_t>(slots));
    const Tensor slot = at::empty({bytes}, at::TensorOptions(at::kByte).device(at::kMeta));
    rings.push_back(std::make_unique<SlotRing>(std::vector<Tensor>(slots, slot)));
  }
  std::vector<SlotRing*> of_group;
  for (const size_t ring : sizes.of_group) of_group.push_back(ring == ArenaRings::none ? nullptr : rings[ring].get());
  return of_group;
}

void MemorySimulation::allocate(const GroupLayout& layout, const GroupSharding& sharding, bool charged, SlotRing* parameters,
                                SlotRing* gradients) {
  const int64_t bytes = layout.bytes(sharding.dtype);
  const auto buffer = [&](MemoryKind kind, BufferPool& pool, c10::ScalarType dtype) {
    return FlatBuffer(layout.numel, dtype, c10::Device(c10::kMeta), kind, pool);
  };
  parameters_.emplace_back(), gradients_.emplace_back(), sent_.emplace_back();
  switch (sharding.store) {
    case Store::replicated: add(MemoryKind::parameters, bytes); break;
    case Store::node_shared: add(MemoryKind::parameters, charged ? bytes : 0); break;
    case Store::sharded:
      add(MemoryKind::parameters, owned_bytes(layout, sharding));
      parameters_.back() = buffer(MemoryKind::parameters, pool_, sharding.compute_dtype);
      parameters_.back().use_ring(parameters, {});
      break;
    case Store::node_gathered:
      add(MemoryKind::parameters, owned_bytes(layout, sharding));
      if (charged) parameters_.back() = buffer(MemoryKind::parameters, node_pool_, sharding.compute_dtype);
      break;
  }
  if (!layout.trained) return;
  if (sharding.drops_gradients()) {
    const bool converts = gradients && sharding.reduce_dtype != sharding.gradient_dtype;
    gradients_.back() = buffer(MemoryKind::gradients, pool_, sharding.gradient_dtype);
    if (converts) sent_.back() = buffer(MemoryKind::gradients, pool_, sharding.reduce_dtype);
    (converts ? sent_ : gradients_).back().use_ring(gradients, {});
  } else {
    add(MemoryKind::gradients, bytes);
  }
  if (!sharding.averages_in_place()) add(MemoryKind::gradients, owned_bytes(layout, sharding));
}

void MemorySimulation::play(const std::vector<StepEvent>& events) {
  for (const auto& event : events) {
    switch (event.kind) {
      case StepEvent::Kind::acquire_parameters: parameters_[event.group].fill_for_collective(); break;
      case StepEvent::Kind::release_parameters: parameters_[event.group].drop(); break;
      case StepEvent::Kind::acquire_gradients: gradients_[event.group].fill(); break;
      case StepEvent::Kind::send_gradients: (sent_[event.group].defined() ? sent_ : gradients_)[event.group].fill_for_collective(); break;
      case StepEvent::Kind::release_gradients: gradients_[event.group].drop(), sent_[event.group].drop(); break;
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
