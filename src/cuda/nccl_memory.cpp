#include "nccl_memory.h"

#include <ATen/ops/from_blob.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <limits>
#include <utility>

#include "levin/comm/host_values.h"

namespace levin {
namespace {

// Null without memory. What LibTorch's allocator keeps for later is free for NCCL's after emptyCache alone.
void* allocate_bytes(size_t bytes) {
  void* data = nullptr;
  if (ncclMemAlloc(&data, bytes) == ncclSuccess) return data;
  c10::cuda::CUDACachingAllocator::emptyCache();
  if (ncclMemAlloc(&data, bytes) == ncclSuccess) return data;
  cudaGetLastError();  // else LibTorch's next launch finds it
  return nullptr;
}

}  // namespace

Tensor NcclMemory::allocate(int64_t numel, at::ScalarType dtype, Communicator& host) {
  const size_t bytes = static_cast<size_t>(numel) * c10::elementSize(dtype);
  const c10::Device device = stream_.device();
  free_retired();
  free_windows(host);
  Block block;
  block.data = allocate_bytes(bytes);
  if (all_min(host, block.data ? 1 : 0) == 0) {
    if (block.data) ncclMemFree(block.data);
    return {};
  }
  register_on_all(block, bytes, host);
  {
    const std::lock_guard lock(mutex_);
    blocks_.push_back(block);
  }
  const auto free = [self = shared_from_this()](void* data) { self->retire(data); };
  Tensor tensor =
      at::for_blob(block.data, {numel}).deleter(free).options(at::TensorOptions(dtype).device(device)).target_device(device).make_tensor();
  check_cuda(cudaMemsetAsync(block.data, 0, bytes, c10::cuda::getCurrentCUDAStream(device.index())), "cudaMemsetAsync");
  return tensor;
}

// NCCL gives no answer that is right for a buffer that some ranks have registered.
void NcclMemory::register_on_all(Block& block, size_t bytes, Communicator& host) {
  block.window = link_->register_window(block.data, bytes);
  block.number = ++windows_;
  if (all_min(host, block.window ? 1 : 0) != 0) return;
  deregister(block);
  const auto code = link_->try_run([&](ncclComm_t link) { return ncclCommRegister(link, block.data, bytes, &block.registration); });
  if (code != ncclSuccess) block.registration = nullptr;
  if (all_min(host, block.registration ? 1 : 0) == 0) deregister(block);
}

bool NcclMemory::deregister(Block& block) noexcept {
  if (block.window && link_->deregister_window(block.window) != ncclInProgress) block.window = nullptr;
  const auto call = [&](ncclComm_t link) { return ncclCommDeregister(link, block.registration); };
  if (block.registration && link_->try_run(call) != ncclInProgress) block.registration = nullptr;
  return !block.window && !block.registration;
}

void NcclMemory::retire(void* data) noexcept {
  try {
    const c10::cuda::CUDAGuard guard(stream_.device());
    auto retired = std::make_unique<Retired>();
    retired->by_collectives.record(stream_);
    retired->by_owner.record(c10::cuda::getCurrentCUDAStream(stream_.device_index()));
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& block) { return block.data == data; });
    retired->block = *found;
    blocks_.erase(found);
    retired_.push_back(std::move(retired));
  } catch (const std::exception&) {  // the device is lost, and the memory with it
  }
}

void NcclMemory::free_retired() noexcept {
  std::vector<std::unique_ptr<Retired>> unused;
  try {
    const std::lock_guard lock(mutex_);
    const auto in_use = [](const auto& retired) {
      return retired->block.window || !retired->by_collectives.query() || !retired->by_owner.query();
    };
    const auto first = std::stable_partition(retired_.begin(), retired_.end(), in_use);
    std::move(first, retired_.end(), std::back_inserter(unused));
    retired_.erase(first, retired_.end());
  } catch (const std::exception&) {  // as above
  }
  const auto kept = std::find_if_not(unused.begin(), unused.end(), [this](const auto& retired) { return free(*retired); });
  const std::lock_guard lock(mutex_);
  std::move(kept, unused.end(), std::back_inserter(retired_));
}

bool NcclMemory::free(Retired& retired) noexcept {
  if (!deregister(retired.block)) return false;
  ncclMemFree(retired.block.data);
  return true;
}

void NcclMemory::free_windows(Communicator& host) {
  constexpr auto none = std::numeric_limits<int64_t>::max();
  const auto number_of = [](const auto& retired) { return retired->block.window ? retired->block.number : none; };
  for (;;) {
    std::unique_lock lock(mutex_);
    const auto oldest =
        std::min_element(retired_.begin(), retired_.end(), [&](const auto& a, const auto& b) { return number_of(a) < number_of(b); });
    const int64_t mine = oldest == retired_.end() ? none : number_of(*oldest);
    std::unique_ptr<Retired> candidate;
    if (mine != none) {
      candidate = std::move(*oldest);
      retired_.erase(oldest);
    }
    lock.unlock();
    const int64_t least = all_min(host, mine), most = all_max(host, mine);
    if (!candidate && least == most) return;
    if (least != most) {
      lock.lock();
      if (candidate) retired_.push_back(std::move(candidate));
      return;
    }
    candidate->by_collectives.synchronize();
    candidate->by_owner.synchronize();
    if (free(*candidate)) continue;
    lock.lock();
    retired_.push_back(std::move(candidate));
  }
}

void NcclMemory::deregister_all() noexcept {
  const std::lock_guard lock(mutex_);
  for (auto& block : blocks_) deregister(block);
  for (auto& retired : retired_) deregister(retired->block);
}

NcclMemory::~NcclMemory() {
  for (auto& retired : retired_) try {
      retired->by_collectives.synchronize();
      retired->by_owner.synchronize();
      free(*retired);
    } catch (const std::exception&) {  // as above
    }
}

}  // namespace levin
