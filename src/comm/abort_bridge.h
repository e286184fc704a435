#pragma once
#include <mpi.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "levin/comm/node_group.h"

namespace levin::detail {

/// Propagates aborts between nodes. Each node's leader has a bridge: it sends the abort word of its node to the other leaders, and writes
/// received ones on its node. The leader's communication thread must poll it; without that thread, every wait of the leader must.
class AbortBridge {
 public:
  /// Collective over `leaders`, which it duplicates. `local_ranks` are the ranks of this node, in the numbering of abort notices.
  /// `any_thread`: MPI provides MPI_THREAD_MULTIPLE.
  AbortBridge(MPI_Comm leaders, std::shared_ptr<NodeGroup> node, std::vector<int> local_ranks, bool any_thread);
  ~AbortBridge();
  AbortBridge(const AbortBridge&) = delete;
  AbortBridge& operator=(const AbortBridge&) = delete;

  /// This thread runs the communicator's operations: below MPI_THREAD_MULTIPLE it alone may call MPI.
  void use_on_this_thread() noexcept { caller_ = std::this_thread::get_id(); }
  /// Rate-limited, so frequent calls are cheap. Does nothing on a thread that may not call MPI.
  void poll() noexcept;
  void poll_now() noexcept;

 private:
  struct Message {
    int by_rank;
    char reason[1020];
  };
  bool may_call_mpi() const noexcept { return any_thread_ || caller_.load() == std::this_thread::get_id(); }
  void receive();
  void send();

  MPI_Comm leaders_ = MPI_COMM_NULL;
  std::shared_ptr<NodeGroup> node_;
  std::vector<int> local_ranks_;
  bool any_thread_;
  std::atomic<std::thread::id> caller_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::chrono::steady_clock::time_point polled_{};
  std::unique_ptr<Message> sent_;
  std::vector<MPI_Request> requests_;
};

}  // namespace levin::detail
