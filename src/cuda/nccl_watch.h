#pragma once
#include <c10/core/Device.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "levin/comm/communicator.h"
#include "nccl_link.h"

namespace levin {

/// A thread that looks every few milliseconds whether the job has been ended, or NCCL has failed, and then ends NCCL's kernels, which would
/// else wait for ranks that do not come; with them end the waits for the device on this rank.
class NcclWatch {
 public:
  /// `host` must outlive it.
  NcclWatch(std::shared_ptr<NcclLink> link, Communicator& host, c10::Device device);
  ~NcclWatch();
  NcclWatch(const NcclWatch&) = delete;
  NcclWatch& operator=(const NcclWatch&) = delete;

 private:
  void loop(c10::Device device);
  /// Whether there is more to watch.
  bool check();

  std::shared_ptr<NcclLink> link_;
  Communicator& host_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace levin
