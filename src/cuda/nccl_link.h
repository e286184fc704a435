#pragma once
#include <nccl.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "check.h"

namespace levin {

/// An NCCL communicator in non-blocking mode: NCCL's calls return at once, and waits for it poll. Any thread may abort it meanwhile.
class NcclLink {
 public:
  /// Called again and again in waits; throws when another rank has ended the job.
  using Poll = std::function<void()>;

  /// Collective over the ranks that have this `id`; the device is set before. CudaError when the ranks have not met within `limit`; `hosts`
  /// says for its message which ranks and hosts these are.
  static std::shared_ptr<NcclLink> connect(const ncclUniqueId& id, int rank, int size, Poll poll, std::chrono::seconds limit,
                                           const std::string& hosts);
  /// Collective; ranks of equal color, ordered by key.
  std::shared_ptr<NcclLink> split(int color, int key, Poll poll, std::chrono::seconds limit, const std::string& hosts);
  /// Lets operations end and frees it; where that does not come to an end, or an exception is on its way, aborts.
  ~NcclLink();
  NcclLink(const NcclLink&) = delete;
  NcclLink& operator=(const NcclLink&) = delete;

  /// Calls queue(communicator), and comes back when NCCL has put the operation on its stream.
  void run(const char* call, const std::function<ncclResult_t(ncclComm_t)>& queue);
  /// Ends the kernels that wait for other ranks. Nothing can be run afterwards.
  void abort() noexcept;
  /// What has gone wrong since, or nothing; from any thread.
  std::string failure() noexcept;

  /// Makes memory known to NCCL, so that it needs no copies; null where it cannot.
  void* add_buffer(void* data, size_t bytes) noexcept;
  void remove_buffer(void* buffer) noexcept;

 private:
  NcclLink(Poll poll, std::chrono::seconds limit) : poll_(std::move(poll)), limit_(limit) {}
  /// Until NCCL is no longer at work on what `call` began.
  void wait_until_ready(const char* call, const std::string& hosts, bool limited);

  Poll poll_;
  std::chrono::seconds limit_;
  std::mutex mutex_;           // NCCL takes one call at a time
  ncclComm_t link_ = nullptr;  // null once aborted
};

}  // namespace levin
