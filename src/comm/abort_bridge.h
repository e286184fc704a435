#pragma once
#include <mpi.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

#include "levin/comm/node_group.h"

namespace levin::detail {

/// Carries abort words between nodes. Every node's leader has one end; it tells the other leaders what its node's ranks wrote, and writes
/// down what they tell. Somebody must poll it: the leader's communication thread, or every wait of the leader where there is none.
class AbortBridge {
 public:
  /// Collective over `leaders`, of which it takes a duplicate. `local_ranks` are this node's, by their numbers in abort notices.
  AbortBridge(MPI_Comm leaders, std::shared_ptr<NodeGroup> node, std::vector<int> local_ranks);
  ~AbortBridge();
  AbortBridge(const AbortBridge&) = delete;
  AbortBridge& operator=(const AbortBridge&) = delete;

  /// Costs next to nothing when called often.
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
