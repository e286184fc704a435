#pragma once
#include <mpi.h>

#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "node_transfers.h"

namespace levin::detail {

/// Messages between ranks of different nodes, by MPI. Both sides exchange their calls first; data follow if the calls agree.
class MpiTransfers {
 public:
  /// Messages use `ranks`, which must carry no other point-to-point traffic.
  MpiTransfers(MPI_Comm ranks, int self);
  /// Leaks the tensors of incomplete messages: MPI may still use them.
  ~MpiTransfers();
  MpiTransfers(const MpiTransfers&) = delete;
  MpiTransfers& operator=(const MpiTransfers&) = delete;

  void start(std::span<const Message> messages);
  /// Advances all messages without waiting; returns whether any message progressed.
  bool progress();
  bool complete() const noexcept { return active_.empty(); }
  /// Throws the first disagreement among completed messages.
  void rethrow();

 private:
  struct Active;
  bool step(Active& message);

  MPI_Comm ranks_;
  int self_;
  std::vector<uint64_t> sent_, received_;  // number of messages so far, by peer
  std::vector<std::unique_ptr<Active>> active_;
  std::exception_ptr failure_;
};

}  // namespace levin::detail
