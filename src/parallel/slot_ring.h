#pragma once
#include <c10/core/Allocator.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "levin/core/tensor.h"

namespace levin {

class Communicator;
class FlatBuffer;

/// Memory of one rank for the collectives of a shard group between devices. It is allocated once, in setup, so that the backend registers
/// it once. Pieces lie at equal offsets on all ranks, as NCCL's symmetric memory requires.
class CollectiveArena {
 public:
  /// `bytes` hold all pieces that cut() will return, each counted as padded(). Collective.
  CollectiveArena(Communicator& shard, int64_t bytes);
  static int64_t padded(int64_t bytes) noexcept;
  /// [numel], zero-filled. All ranks cut the same pieces in the same order.
  Tensor cut(int64_t numel, at::ScalarType dtype);

 private:
  Tensor memory_;  // [bytes]
  int64_t used_ = 0;
};

/// Slots of an arena in which flat buffers take turns. The n-th turn has slot n % slots on every rank. A turn belongs to a collective, so
/// all ranks take turns in the same order, whatever happens between collectives.
///
/// A rank that still holds the slot of a turn in another buffer moves that buffer to memory of its pool, and a buffer that was filled
/// elsewhere moves into its slot. Where all ranks use units in one order, and as many buffers at a time as there are slots, nothing moves.
class SlotRing {
 public:
  /// Slots of one size, each a tensor of bytes.
  explicit SlotRing(std::vector<Tensor> slots);
  SlotRing(const SlotRing&) = delete;
  SlotRing& operator=(const SlotRing&) = delete;

  size_t slots() const noexcept { return slots_.size(); }
  int64_t slot_bytes() const;
  /// The memory of a slot. The ring owns it.
  c10::DataPtr memory(size_t slot) const;

  // For FlatBuffer.

  /// A buffer is filled ahead of its turn: the slot that it will have if buffers take turns in the order in which they were filled.
  /// Nothing where another buffer holds that slot.
  std::optional<size_t> reserve(FlatBuffer& buffer);
  /// The slot of the next turn, which `buffer` holds from now on. Another holder moves out.
  size_t take_turn(FlatBuffer& buffer);
  /// A buffer that was filled ahead took its turn, or was dropped without one.
  void forget_reservation() noexcept { reserved_--; }
  void release(size_t slot) noexcept { holders_[slot] = nullptr; }

 private:
  std::vector<Tensor> slots_;
  std::vector<FlatBuffer*> holders_;  // null: free
  uint64_t turns_ = 0, reserved_ = 0;
};

/// Slots for buffers of given sizes.
struct RingSize {
  int64_t slot_bytes = 0;
  size_t slots = 0;
};
/// Rings for buffers of these sizes, of which `at_a_time` have memory at a time, by ascending size: one for each size, or a common one
/// where that needs less memory. A buffer's ring is the first that it fits into.
std::vector<RingSize> ring_sizes(const std::vector<int64_t>& buffer_bytes, size_t at_a_time);

}  // namespace levin
