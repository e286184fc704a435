#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "../parallel/flat_buffer.h"
#include "../parallel/group_factory.h"
#include "simulated_step.h"

namespace levin::detail {

/// Acquires and releases the memory of a training on one rank as the engine does, from the same pools, but of a device without memory.
class MemorySimulation {
 public:
  /// Plays the setup. `charged`: the rank is charged with what its node shares. `slots`: of the arena of ranks that share no memory.
  MemorySimulation(const PlanModel& model, const std::vector<GroupLayout>& layout, const std::vector<GroupSharding>& sharding, bool charged,
                   const std::optional<ArenaSlots>& slots);
  MemorySimulation(const MemorySimulation&) = delete;
  MemorySimulation& operator=(const MemorySimulation&) = delete;

  void play(const std::vector<StepEvent>& events);
  const RankMemory& peak() const noexcept { return peak_; }

 private:
  using Rings = std::vector<std::unique_ptr<SlotRing>>;
  /// By group: its ring, or null.
  std::vector<SlotRing*> make_rings(MemoryKind kind, const ArenaRings& sizes, Rings& rings);
  void allocate(const GroupLayout& layout, const GroupSharding& sharding, bool charged, SlotRing* parameters, SlotRing* gradients);
  void add(MemoryKind kind, int64_t bytes);
  void note_peak();

  MemoryMeter meter_;
  BufferPool pool_{meter_}, node_pool_{meter_};
  Rings parameter_rings_, gradient_rings_;
  // The whole of each group, where it is not always in memory. What is sent: gradients in another dtype than they are collected in.
  std::vector<FlatBuffer> parameters_, gradients_, sent_;
  RankMemory peak_;
};

}  // namespace levin::detail
