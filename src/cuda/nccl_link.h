#pragma once
#include <c10/core/Device.h>
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "check.h"
#include "nccl_call.h"

namespace levin {

/// A communicator of NCCL in blocking mode. What waits for other ranks to start, split or end it runs in a thread, with a limit, and ends
/// with the job. Any thread may abort the communicator. Communicators split from each other share NCCL's resources: they take one call at a
/// time, and an abort of one ends the kernels of all.
class NcclLink {
 public:
  struct Options {
    c10::Device device;
    Poll poll;
    std::chrono::milliseconds limit;  ///< of start and split
    std::string ranks;                ///< ranks and hosts, for the error of those that are missing
    std::string name;                 ///< in NCCL's own log, where its version has names
  };
  /// Collective over the ranks that have these `ids`, the same on all; the device is set before. CudaError if ranks are missing after the
  /// limit.
  static std::shared_ptr<NcclLink> connect(std::span<const ncclUniqueId> ids, int rank, int size, Options options);
  /// Collective; ranks of equal color, ordered by key. No operation of this communicator is outstanding on any rank.
  std::shared_ptr<NcclLink> split(int color, int key, Options options);
  /// Makes memory of ncclMemAlloc a symmetric window. Collective. Null where this rank or its NCCL cannot: the ranks then agree on what to
  /// do.
  void* register_window(void* data, size_t bytes);
  /// As try_run.
  ncclResult_t deregister_window(void* window) noexcept;
  ~NcclLink();
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;

  /// Calls queue(communicator), which puts an operation on a stream.
  void run(const char* call, const std::function<ncclResult_t(ncclComm_t)>& queue);
  /// The same for calls that may fail and concern this rank alone. ncclInvalidUsage once aborted or closed; ncclInProgress where another
  /// call does not return for a second.
  ncclResult_t try_run(const std::function<ncclResult_t(ncclComm_t)>& call) noexcept;
  /// Ends the kernels that wait for other ranks. Nothing can be run afterwards. Thread-safe.
  void abort() noexcept;
  /// Frees the communicator; all its operations are through. Nothing can be run afterwards. NCCL may wait for the ranks of the host.
  void close() noexcept;
  /// The asynchronous error of NCCL, or empty. Thread-safe; does not wait for a call in progress.
  std::string failure() noexcept;

 private:
  explicit NcclLink(Options options) : options_(std::move(options)) {}
  /// The result of a call that waits for other ranks and has the communicator to itself. Where it returns after the limit, or after an
  /// abort, `discard` takes back what it has made.
  ncclResult_t manage(const char* name, const Options& options, std::function<ncclResult_t(ncclComm_t)> call,
                      std::function<void()> discard);

  Options options_;
  std::shared_ptr<std::timed_mutex> mutex_ = std::make_shared<std::timed_mutex>();  // of all that share resources
  std::atomic<bool> aborted_ = false;                                               // or about to be
  std::atomic<ncclComm_t> link_ = nullptr;  // null in manage(), when NCCL cannot abort, and at the end
};

}  // namespace levin
