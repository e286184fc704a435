#include "flat_buffer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <utility>

#include "levin/comm/shared_buffer_pool.h"

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

void FlatBuffer::fill() {
  if (filled_ || !defined()) return;
  auto* storage = tensor_.storage().unsafeGetStorageImpl();
  storage->set_data_ptr_noswap(node_pool_ ? c10::DataPtr(node_pool_->acquire(id_), at::kCPU)
                                          : pool_->acquire(bytes_, tensor_.device(), kind_));
  if (node_pool_ && pool_) pool_->acquire(bytes_, at::kMeta, kind_);
  storage->set_nbytes(bytes_);
  filled_ = true;
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
  if (pool_) pool_->release(std::move(memory), bytes_, node_pool_ ? at::kMeta : tensor_.device(), kind_);
  storage->set_nbytes(0);
  filled_ = false;
}

}  // namespace levin
