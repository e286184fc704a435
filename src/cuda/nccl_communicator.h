#pragma once
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../comm/call_log.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/device/accelerator.h"
#include "nccl_link.h"
#include "nccl_memory.h"
#include "nccl_watch.h"

namespace levin {

/// Collectives and messages between GPUs by NCCL. They run in order on the communicator's stream, after what is on the caller's stream.
/// Work::wait() makes the caller's stream wait for the result, and synchronize() the host, which polls the abort word. cpu() carries that
/// word and the meeting of the ranks.
///
/// Communicators split from each other share that stream: a device runs their collectives one after the other, in the order in which the
/// rank starts them, which must therefore agree on all ranks.
///
/// An operation that is not through within the options' timeout, counted from when this rank's device has reached it, ends the job with an
/// error that names it and the missing ranks. A rank that destroys its communicator during stack unwinding ends the other ranks' waits.
///
/// Unlike the CPU's, it does not compare what the ranks call before data move; call_hash shows afterwards that they differ. Sums are in
/// NCCL's order and, for fp16 and bf16, in NCCL's precision.
class NcclCommunicator final : public Communicator {
 public:
  /// Collective. CudaError if NCCL fails, or ranks are missing after the options' timeout; ConfigError where two ranks of a host have the
  /// same GPU.
  static std::unique_ptr<NcclCommunicator> create(const MpiRuntime& runtime, const CommunicatorOptions& options, c10::Device device);
  ~NcclCommunicator() override;

  uint64_t sequence() const noexcept override { return sequence_.load(std::memory_order_relaxed); }
  uint64_t call_hash() const noexcept override { return log_.hash(); }
  std::string last_calls() const override { return log_.last_calls(); }
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
  /// From ncclMemAlloc, and a symmetric window or registered on all ranks, where all of them can; else LibTorch's memory on all.
  Tensor allocate(int64_t numel, at::ScalarType dtype) override;
  /// Waits until no operation of this communicator is outstanding: NCCL's split needs that.
  std::unique_ptr<Communicator> split(int color, int key) override;
  void abort(const std::string& reason) noexcept override;
  c10::Device device() const noexcept override { return device_; }
  Communicator& cpu() noexcept override { return *host_; }

 private:
  struct Parts {
    std::shared_ptr<Communicator> host;
    std::shared_ptr<NcclLink> link;
    MPI_Comm roll_call;  // MPI_COMM_NULL where MPI is not for threads
    std::chrono::milliseconds timeout;
    std::string name;
    std::vector<std::string> rank_names;
    std::string ranks_and_hosts;
    std::optional<c10::cuda::CUDAStream> stream = {};  // of the communicator it is split from
  };
  NcclCommunicator(Parts parts, c10::Device device);
  /// The call with the next sequence number. `compared`: all ranks make the same one.
  detail::Call next(detail::Call call, bool compared = true);
  Work start(const char* name, const detail::Call& call, std::vector<Tensor> tensors,
             const std::function<ncclResult_t(ncclComm_t, cudaStream_t)>& queue);
  Work start_messages(const detail::Call& call, const std::vector<Transfer>& messages);
  /// Waits until no operation is outstanding. CommunicatorAborted if the job was aborted, CudaError after the time-out.
  void wait_until_idle();

  Parts parts_;
  std::shared_ptr<Communicator> host_;
  std::shared_ptr<NcclLink> link_;
  c10::Device device_;
  c10::cuda::CUDAStream stream_;
  int exceptions_;
  std::atomic<uint64_t> sequence_{0};
  int splits_ = 0;
  detail::CallLog log_;
  std::shared_ptr<NcclMemory> memory_;
  std::unique_ptr<NcclWatch> watch_;
};

}  // namespace levin
