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

/// A thread that looks every few milliseconds whether the job has been ended, NCCL has failed, or an operation takes too long, and then
/// ends NCCL's kernels, which would else wait for ranks that do not come; with them end the waits for the device on this rank.
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

  /// Before the call: it may wait for ranks, too.
  void add(std::shared_ptr<NcclOperation> operation);
  /// Waits until all operations are through; false after `patience`, or where the job or NCCL has failed.
  bool wait_until_idle(std::chrono::milliseconds patience) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  void loop();
  /// Whether there is more to watch.
  bool check();
  /// Forgets operations that are through, and notes when the device reached the oldest other.
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
