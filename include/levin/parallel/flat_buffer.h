#pragma once
#include <c10/core/Allocator.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/parallel/memory_meter.h"

namespace levin {

class PassingMemory;

/// Memory that flat buffers gave back and the next one may have: units are of a few sizes, and memory that is new to a process costs more
/// than the copy into it.
class BufferPool {
 public:
  explicit BufferPool(MemoryMeter& meter) : meter_(meter) {}
  ~BufferPool() { keep(0); }
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  c10::DataPtr take(size_t bytes, c10::Device device, MemoryKind kind);
  void give_back(c10::DataPtr memory, size_t bytes, c10::Device device, MemoryKind kind);
  /// Frees all but so many of the pieces that nobody uses.
  void keep(size_t pieces);

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

/// A flat tensor whose memory comes and goes, while it and its views stay what they are. Views of a dropped buffer must not be read.
class FlatBuffer {
 public:
  FlatBuffer() = default;
  FlatBuffer(int64_t numel, at::ScalarType dtype, c10::Device device, MemoryKind kind, BufferPool& pool);
  /// A thing of memory that the ranks of a node share. `counted`, where it counts on this rank: a pool of memory of no device, which takes
  /// and gives as the shared one does.
  FlatBuffer(int64_t numel, at::ScalarType dtype, MemoryKind kind, std::shared_ptr<PassingMemory> memory, size_t thing,
             BufferPool* counted);
  ~FlatBuffer() { drop(); }
  FlatBuffer(FlatBuffer&& other) noexcept { *this = std::move(other); }
  FlatBuffer& operator=(FlatBuffer&& other) noexcept;

  bool defined() const noexcept { return tensor_.defined(); }
  bool filled() const noexcept { return filled_; }
  /// [numel]; its values after fill are arbitrary.
  const Tensor& tensor() const noexcept { return tensor_; }
  /// Of a filled buffer in shared memory: the same values, and addresses that stay as long as this tensor does.
  Tensor lent() const;
  void fill();  ///< neither does anything where there is no tensor
  void drop();

 private:
  Tensor tensor_;
  size_t bytes_ = 0;
  MemoryKind kind_ = MemoryKind::parameters;
  BufferPool* pool_ = nullptr;
  std::shared_ptr<PassingMemory> shared_;
  size_t thing_ = 0;
  bool filled_ = false;
};

}  // namespace levin
