#pragma once
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#include <mutex>
#include <vector>

#include "levin/comm/communicator.h"
#include "nccl_link.h"

namespace levin {

/// Memory of ncclMemAlloc that a communicator has registered, on all ranks or on none: as a symmetric window where all can. Freeing it does
/// not wait for the device: it is kept until what was queued on it before is through.
///
/// Windows share an address space, equal on all ranks: a window lives on until all ranks have freed it and one of them allocates again.
class NcclMemory : public std::enable_shared_from_this<NcclMemory> {
 public:
  NcclMemory(std::shared_ptr<NcclLink> link, c10::cuda::CUDAStream stream) : link_(std::move(link)), stream_(stream) {}
  ~NcclMemory();
  NcclMemory(const NcclMemory&) = delete;
  NcclMemory& operator=(const NcclMemory&) = delete;

  /// [numel], zero-filled. Undefined on all ranks where one lacks the memory. Collective over `host`, which has the link's ranks. CudaError
  /// where NCCL fails on a rank alone after others may have begun to wait.
  Tensor allocate(int64_t numel, at::ScalarType dtype, Communicator& host);
  /// Frees idle memory whose tensors were released, except windows. Thread-safe.
  void free_retired() noexcept;
  /// Before the link is closed: all its operations are through.
  void deregister_all() noexcept;

 private:
  struct Block {
    void* data = nullptr;
    void* registration = nullptr;
    void* window = nullptr;
    int64_t number = 0;  ///< of the window, equal on all ranks
  };
  struct Retired {
    Block block;
    c10::cuda::CUDAEvent by_collectives, by_owner;
  };
  void register_on_all(Block& block, size_t bytes, Communicator& host);
  void retire(void* data) noexcept;
  /// False where the communicator is busy: the block is still registered.
  bool deregister(Block& block) noexcept;
  /// False as above: the memory is kept.
  bool free(Retired& retired) noexcept;
  /// Frees windows whose tensors are gone on all ranks. Collective.
  void free_windows(Communicator& host);

  std::shared_ptr<NcclLink> link_;
  c10::cuda::CUDAStream stream_;  // of collectives
  std::mutex mutex_;
  std::vector<Block> blocks_;  // of living tensors
  std::vector<std::unique_ptr<Retired>> retired_;
  int64_t windows_ = 0;
};

}  // namespace levin
