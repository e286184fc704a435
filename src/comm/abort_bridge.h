#pragma once
#include <mpi.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

#include "levin/comm/node_group.h"

namespace levin::detail {

/// Propagates aborts between nodes. Each node's leader has a bridge: it sends the abort word of its node to the other leaders, and writes
/// received ones on its node. The leader's communication thread must poll it; without that thread, every wait of the leader must.
class AbortBridge {
 public:
  /// Collective over `leaders`, which it duplicates. `local_ranks` are the ranks of this node, in the numbering of abort notices.
  AbortBridge(MPI_Comm leaders, std::shared_ptr<NodeGroup> node, std::vector<int> local_ranks);
  ~AbortBridge();
  AbortBridge(const AbortBridge&) = delete;
  AbortBridge& operator=(const AbortBridge&) = delete;

  /// Rate-limited, so frequent calls are cheap.
  void poll() noexcept;
  void poll_now() noexcept;

 private:
  struct Message {
    int by_rank;
    char reason[1020];
  };
  void receive();
  void send();

  MPI_Comm leaders_ = MPI_COMM_NULL;
  std::shared_ptr<NodeGroup> node_;
  std::vector<int> local_ranks_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point polled_{};
  std::unique_ptr<Message> sent_;
  std::vector<MPI_Request> requests_;
};

}  // namespace levin::detail
