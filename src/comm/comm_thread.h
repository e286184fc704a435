#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// Runs a communicator's operations in order on a separate thread, so that they progress while the caller computes. Without a thread (MPI
/// below MPI_THREAD_MULTIPLE), an operation runs, and throws, immediately on the caller's thread.
class CommThread {
 public:
  /// The thread calls `idle` every few milliseconds while the queue is empty. It must not throw; it may be empty.
  CommThread(bool threaded, std::function<void()> idle);
  /// Runs the remaining operations.
  ~CommThread();
  CommThread(const CommThread&) = delete;
  CommThread& operator=(const CommThread&) = delete;

  /// The Work rethrows the operation's error.
  Work run(std::function<void()> operation);
  bool threaded() const noexcept { return thread_.joinable(); }
  bool busy();

 private:
  struct Task;
  void loop();
  std::shared_ptr<Task> next();

  std::function<void()> idle_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Task>> queue_;
  bool running_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace levin::detail
