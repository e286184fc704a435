#pragma once
#include <c10/core/Device.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "levin/comm/communicator.h"
#include "nccl_link.h"
#include "nccl_memory.h"
#include "nccl_operation.h"
#include "roll_call.h"

namespace levin {

/// A thread that looks every 20 ms whether the job has ended, NCCL has failed, or an operation takes too long. It then aborts NCCL: kernels
/// that wait for other ranks end, and with them this rank's waits for the device.
class NcclWatch {
 public:
  struct Options {
    c10::Device device;
    std::chrono::milliseconds timeout;    ///< of an operation, from when this rank's device has reached it
    std::string name;                     ///< the communicator's, for messages
    std::vector<std::string> rank_names;  ///< "rank 3 on host"
  };
  NcclWatch(std::shared_ptr<NcclLink> link, std::shared_ptr<Communicator> host, std::shared_ptr<NcclMemory> memory,
            std::unique_ptr<RollCall> roll_call, Options options);
  ~NcclWatch();
  NcclWatch(const NcclWatch&) = delete;
  NcclWatch& operator=(const NcclWatch&) = delete;

  /// To be called before the call of NCCL, which may wait for ranks as well.
  void add(std::shared_ptr<NcclOperation> operation);
  /// Waits until all operations are through; false after `patience`, or where the job or NCCL has failed.
  bool wait_until_idle(std::chrono::milliseconds patience) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  void loop();
  /// Whether there is more to watch.
  bool check();
  /// Removes operations that are done, and notes when the device reached the oldest of the others.
  void advance();
  bool idle();
  /// The operation that takes too long, or null.
  std::shared_ptr<NcclOperation> late();
  RollCall::Position position();
  std::string report(const NcclOperation& operation);

  std::shared_ptr<NcclLink> link_;
  std::shared_ptr<Communicator> host_;
  std::shared_ptr<NcclMemory> memory_;
  std::unique_ptr<RollCall> roll_call_;
  Options options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false, over_ = false;  // over_: nothing more is watched
  std::deque<std::shared_ptr<NcclOperation>> operations_;
  uint64_t called_ = 0, through_ = 0;
  std::optional<Clock::time_point> reached_;  // when the device reached the oldest operation
  std::thread thread_;
};

}  // namespace levin
