#include "slot_ring.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <map>
#include <utility>

#include "flat_buffer.h"
#include "levin/comm/communicator.h"
#include "levin/core/error.h"

namespace levin {

CollectiveArena::CollectiveArena(Communicator& shard, int64_t bytes) : memory_(shard.allocate(bytes, at::kByte)) {}

int64_t CollectiveArena::padded(int64_t bytes) noexcept {
  constexpr int64_t alignment = 512;  // LibTorch's on CUDA
  return (bytes + alignment - 1) / alignment * alignment;
}

// A storage for each piece: views of one would share a version counter, and autograd would see a write into any of them.
Tensor CollectiveArena::cut(int64_t numel, at::ScalarType dtype) {
  const int64_t bytes = padded(numel * static_cast<int64_t>(c10::elementSize(dtype)));
  if (used_ + bytes > memory_.numel())
    throw UsageError("parallel",
                     fmt::format("{} bytes of an arena that has {} of {} left", bytes, memory_.numel() - used_, memory_.numel()),
                     "count every piece in the arena's size");
  auto* data = static_cast<std::byte*>(memory_.mutable_data_ptr()) + used_;
  used_ += bytes;
  return at::for_blob(data, {numel})
      .deleter([memory = memory_](void*) {})
      .options(at::TensorOptions(dtype).device(memory_.device()))
      .target_device(memory_.device())
      .make_tensor();
}

SlotRing::SlotRing(std::vector<Tensor> slots) : slots_(std::move(slots)), holders_(slots_.size(), nullptr) {}

int64_t SlotRing::slot_bytes() const { return slots_.front().numel(); }

c10::DataPtr SlotRing::memory(size_t slot) const {
  const Tensor& bytes = slots_[slot];
  return {bytes.is_meta() ? nullptr : bytes.mutable_data_ptr(), bytes.device()};
}

std::optional<size_t> SlotRing::reserve(FlatBuffer& buffer) {
  const size_t slot = (turns_ + reserved_++) % slots_.size();
  if (holders_[slot]) return std::nullopt;
  holders_[slot] = &buffer;
  return slot;
}

size_t SlotRing::take_turn(FlatBuffer& buffer) {
  const size_t slot = turns_++ % slots_.size();
  if (auto* holder = holders_[slot]; holder && holder != &buffer) holder->move_out();
  holders_[slot] = &buffer;
  return slot;
}

std::vector<RingSize> ring_sizes(const std::vector<int64_t>& buffer_bytes, size_t at_a_time) {
  std::map<int64_t, size_t> number_of;
  for (const int64_t bytes : buffer_bytes) number_of[bytes]++;
  std::vector<RingSize> rings;
  int64_t total = 0;
  for (const auto& [bytes, number] : number_of) {
    rings.push_back({bytes, std::min(number, at_a_time)});
    total += bytes * static_cast<int64_t>(rings.back().slots);
  }
  if (rings.empty()) return rings;
  const RingSize common{rings.back().slot_bytes, std::min(buffer_bytes.size(), at_a_time)};
  return total > common.slot_bytes * static_cast<int64_t>(common.slots) ? std::vector{common} : rings;
}

}  // namespace levin
