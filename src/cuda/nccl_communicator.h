#pragma once
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "nccl_link.h"
#include "nccl_watch.h"

namespace levin {

/// Collectives and messages between GPUs by NCCL. They run in order on the communicator's stream, after what is on the caller's stream.
/// Work::wait() makes the caller's stream wait for the result, and synchronize() the host, which polls the abort word. cpu() carries that
/// word and the meeting of the ranks.
///
/// Communicators split from each other share that stream: a device runs their collectives one after the other, in the order in which the
/// rank starts them, which must therefore agree on all ranks.
///
/// Unlike the CPU's, it does not compare what the ranks call; labels and counts that differ are not reported. Sums are in NCCL's order and,
/// for fp16 and bf16, in NCCL's precision.
class NcclCommunicator final : public Communicator {
 public:
  /// Collective. CudaError if NCCL fails or times out; ConfigError where two ranks of a host have the same GPU.
  static std::unique_ptr<NcclCommunicator> create(const MpiRuntime& runtime, const std::string& window_directory, c10::Device device,
                                                  std::chrono::seconds limit = std::chrono::seconds(300));
  ~NcclCommunicator() override;

  uint64_t sequence() const noexcept override { return sequence_.load(std::memory_order_relaxed); }
  using Communicator::all_to_all;
  Work all_reduce(const Tensor& tensor, ReduceOp op, std::string_view label) override;
  Work reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view label) override;
  Work all_gather(const Tensor& output, const Tensor& input, std::string_view label) override;
  /// UsageError: no two ranks share a GPU's memory.
  Work gather_shared(const Tensor& whole, std::string_view label) override;
  Work broadcast(const Tensor& tensor, int root, std::string_view label) override;
  Work all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input, std::span<const int64_t> input_counts,
                  std::string_view label) override;
  /// One NCCL group.
  Work transfer(std::span<const Transfer> transfers, std::string_view label) override;
  /// On the host; work that is queued on the GPUs may not be done.
  void barrier(std::string_view label) override;
  /// From ncclMemAlloc and registered, where NCCL can; else LibTorch's.
  Tensor allocate(int64_t numel, at::ScalarType dtype) override;
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(const std::string& reason) noexcept override;
  c10::Device device() const noexcept override { return device_; }
  Communicator& cpu() noexcept override { return *host_; }

 private:
  NcclCommunicator(std::shared_ptr<Communicator> host, std::shared_ptr<NcclLink> link, c10::Device device, std::chrono::seconds limit,
                   std::string hosts, std::optional<c10::cuda::CUDAStream> stream = {});
  void check(const Tensor& tensor) const;
  void check_parts(const Tensor& whole, const Tensor& part) const;
  std::vector<int64_t> check_counts(const Tensor& tensor, std::span<const int64_t> counts) const;
  Work start(const char* call, std::vector<Tensor> tensors, const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& queue);

  std::shared_ptr<Communicator> host_;
  std::shared_ptr<NcclLink> link_;
  c10::Device device_;
  std::chrono::seconds limit_;
  std::string hosts_;
  c10::cuda::CUDAStream stream_;
  std::atomic<uint64_t> sequence_{0};
  std::unique_ptr<NcclWatch> watch_;
};

}  // namespace levin
