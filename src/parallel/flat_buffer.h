#pragma once
#include <c10/core/Allocator.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/parallel/memory_meter.h"

namespace levin {

class SharedBufferPool;
class SlotRing;

/// Memory that flat buffers freed, for the next buffer of the same size: units come in few sizes, and the first touch of new pages costs
/// more than the copy into them. The meter counts pooled memory until it is freed.
class BufferPool {
 public:
  explicit BufferPool(MemoryMeter& meter) : meter_(meter) {}
  ~BufferPool() { trim(0); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  c10::DataPtr acquire(size_t bytes, c10::Device device, MemoryKind kind);
  void release(c10::DataPtr memory, size_t bytes, c10::Device device, MemoryKind kind);
  /// Frees all but the `pieces` most recently released pieces.
  void trim(size_t pieces);

 private:
  struct Piece {
    c10::DataPtr memory;
    size_t bytes;
    c10::Device device;
    MemoryKind kind;
  };
  MemoryMeter& meter_;
  std::vector<Piece> free_;  // the oldest first
};

/// A flat tensor whose memory is acquired and released while it and its views stay the same tensors. Views of a dropped buffer must not be
/// read.
class FlatBuffer {
 public:
  FlatBuffer() = default;  ///< undefined: fill and drop do nothing
  FlatBuffer(int64_t numel, at::ScalarType dtype, c10::Device device, MemoryKind kind, BufferPool& pool);
  /// Buffer `id` of the node's pool. `accounting` charges its bytes to this rank's meter, as a pool on the meta device; null where another
  /// rank of the node is charged.
  FlatBuffer(int64_t numel, at::ScalarType dtype, MemoryKind kind, std::shared_ptr<SharedBufferPool> node_pool, size_t id,
             BufferPool* accounting);
  ~FlatBuffer() { drop(); }
  FlatBuffer(FlatBuffer&& other) noexcept { *this = std::move(other); }
  FlatBuffer& operator=(FlatBuffer&& other) noexcept;

  bool defined() const noexcept { return tensor_.defined(); }
  bool filled() const noexcept { return filled_; }
  /// [numel]. Its values after fill are arbitrary.
  const Tensor& tensor() const noexcept { return tensor_; }
  /// A tensor on the same elements of a filled buffer of the node's pool, whose address stays valid as long as it does.
  Tensor shared_view() const;
  void fill();  ///< acquires memory; nothing if filled
  void drop();  ///< releases it; nothing if not filled

  /// Takes turns in `ring`, which outlives it. `settle` makes the current stream wait for a collective on the buffer: it is called before
  /// the buffer moves out of its slot. Once, where it stays: a ring knows a buffer by its address.
  void use_ring(SlotRing* ring, std::function<void()> settle);
  /// Just before a collective on it: fills it, in its ring's next slot. Values of a filled buffer move with it, on the current stream.
  void fill_for_collective();
  /// Another buffer has the turn of this one's slot. For SlotRing.
  void move_out();

 private:
  void fill_with(c10::DataPtr memory);
  void move_to(std::optional<size_t> slot);

  Tensor tensor_;
  size_t bytes_ = 0;
  MemoryKind kind_ = MemoryKind::parameters;
  BufferPool* pool_ = nullptr;
  std::shared_ptr<SharedBufferPool> node_pool_;
  size_t id_ = 0;
  bool filled_ = false;
  SlotRing* ring_ = nullptr;
  std::function<void()> settle_;
  std::optional<size_t> slot_;  // of the ring; nothing: memory of the pool
  bool reserved_ = false;       // filled ahead of its turn
};

}  // namespace levin
