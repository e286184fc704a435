#include "flat_buffer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "levin/comm/shared_buffer_pool.h"
#include "slot_ring.h"

namespace levin {
namespace {

Tensor without_memory(int64_t numel, at::ScalarType dtype, c10::Device device) {
  Tensor tensor = at::empty({numel}, at::TensorOptions(dtype).device(device));
  auto* storage = tensor.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(c10::DataPtr(nullptr, device));
  storage->set_nbytes(0);
  return tensor;
}

}  // namespace

c10::DataPtr BufferPool::acquire(size_t bytes, c10::Device device, MemoryKind kind) {
  for (auto piece = free_.begin(); piece != free_.end(); ++piece) {
    if (piece->bytes != bytes || piece->device != device) continue;
    c10::DataPtr memory = std::move(piece->memory);
    const MemoryKind was = piece->kind;
    free_.erase(piece);
    if (was != kind) {
      meter_.add(was, -static_cast<int64_t>(bytes));
      meter_.add(kind, static_cast<int64_t>(bytes));
    }
    return memory;
  }
  trim(0);  // of other sizes: unused memory must not raise the peak
  meter_.add(kind, static_cast<int64_t>(bytes));
  return c10::GetAllocator(device.type())->allocate(bytes);
}

void BufferPool::release(c10::DataPtr memory, size_t bytes, c10::Device device, MemoryKind kind) {
  free_.push_back({std::move(memory), bytes, device, kind});
  trim(SharedBufferPool::buffers_kept);
}

void BufferPool::trim(size_t pieces) {
  for (; free_.size() > pieces; free_.erase(free_.begin())) meter_.add(free_.front().kind, -static_cast<int64_t>(free_.front().bytes));
}

FlatBuffer::FlatBuffer(int64_t numel, at::ScalarType dtype, c10::Device device, MemoryKind kind, BufferPool& pool)
    : tensor_(without_memory(numel, dtype, device)),
      bytes_(static_cast<size_t>(numel) * c10::elementSize(dtype)),
      kind_(kind),
      pool_(&pool) {}

FlatBuffer::FlatBuffer(int64_t numel, at::ScalarType dtype, MemoryKind kind, std::shared_ptr<SharedBufferPool> node_pool, size_t id,
                       BufferPool* accounting)
    : tensor_(without_memory(numel, dtype, at::kCPU)),
      bytes_(static_cast<size_t>(numel) * c10::elementSize(dtype)),
      kind_(kind),
      pool_(accounting),
      node_pool_(std::move(node_pool)),
      id_(id) {}

FlatBuffer& FlatBuffer::operator=(FlatBuffer&& other) noexcept {
  if (this == &other) return *this;
  drop();
  tensor_ = std::move(other.tensor_);
  bytes_ = other.bytes_, kind_ = other.kind_, pool_ = other.pool_, id_ = other.id_;
  node_pool_ = std::move(other.node_pool_);
  filled_ = std::exchange(other.filled_, false);
  return *this;
}

void FlatBuffer::use_ring(SlotRing* ring, std::function<void()> settle) {
  ring_ = ring;
  settle_ = std::move(settle);
}

void FlatBuffer::fill_with(c10::DataPtr memory) {
  auto* storage = tensor_.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(std::move(memory));
  storage->set_nbytes(bytes_);
  filled_ = true;
}

void FlatBuffer::fill() {
  if (filled_ || !defined()) return;
  if (node_pool_) {
    fill_with({node_pool_->acquire(id_), at::kCPU});
    if (pool_) pool_->acquire(bytes_, at::kMeta, kind_);
    return;
  }
  if (ring_) {
    slot_ = ring_->reserve(*this);
    reserved_ = true;
  }
  fill_with(slot_ ? ring_->memory(*slot_) : pool_->acquire(bytes_, tensor_.device(), kind_));
}

void FlatBuffer::fill_for_collective() {
  if (!ring_) return fill();
  if (std::exchange(reserved_, false)) ring_->forget_reservation();
  const size_t slot = ring_->take_turn(*this);
  if (slot_ == slot) return;
  if (filled_) return move_to(slot);
  slot_ = slot;
  fill_with(ring_->memory(slot));
}

void FlatBuffer::move_out() {
  if (settle_) settle_();
  move_to(std::nullopt);
}

void FlatBuffer::move_to(std::optional<size_t> slot) {
  const at::NoGradGuard no_grad;
  c10::DataPtr memory = slot ? ring_->memory(*slot) : pool_->acquire(bytes_, tensor_.device(), kind_);
  at::for_blob(memory.get(), tensor_.sizes()).options(tensor_.options()).target_device(tensor_.device()).make_tensor().copy_(tensor_);
  auto before = tensor_.storage().unsafeGetStorageImpl()->set_data_ptr(std::move(memory));
  if (slot_)
    ring_->release(*slot_);
  else
    pool_->release(std::move(before), bytes_, tensor_.device(), kind_);
  slot_ = slot;
}

Tensor FlatBuffer::shared_view() const {
  return at::from_blob(
      tensor_.mutable_data_ptr(), tensor_.sizes(), [memory = node_pool_](void*) {}, tensor_.options());
}

void FlatBuffer::drop() {
  if (!filled_) return;
  auto* storage = tensor_.storage().unsafeGetStorageImpl();
  auto memory = storage->set_data_ptr(c10::DataPtr(nullptr, tensor_.device()));
  if (node_pool_) node_pool_->release(id_);
  if (std::exchange(reserved_, false)) ring_->forget_reservation();
  if (slot_)
    ring_->release(*std::exchange(slot_, std::nullopt));
  else if (pool_)
    pool_->release(std::move(memory), bytes_, node_pool_ ? at::kMeta : tensor_.device(), kind_);
  storage->set_nbytes(0);
  filled_ = false;
}

}  // namespace levin
