#pragma once
#include <mpi.h>

#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "node_transfers.h"

namespace levin::detail {

/// Messages between ranks of different nodes, by MPI. Both sides exchange their calls first; data follow when those agree.
class MpiTransfers {
 public:
  /// Messages travel on `ranks`, on which nothing else sends.
  MpiTransfers(MPI_Comm ranks, int self);
  /// Keeps the tensors of messages that are not complete for ever: MPI may still use them.
  ~MpiTransfers();
  MpiTransfers(const MpiTransfers&) = delete;
  MpiTransfers& operator=(const MpiTransfers&) = delete;

  void start(std::span<const Message> messages);
  /// Moves what can be moved without waiting; whether a message came further.
  bool progress();
  bool complete() const noexcept { return active_.empty(); }
  /// Throws the first disagreement among completed messages.
  void rethrow();

 private:
  struct Active;
  bool step(Active& message);

  MPI_Comm ranks_;
  int self_;
  std::vector<uint64_t> sent_, received_;  // messages so far, by peer
  std::vector<std::unique_ptr<Active>> active_;
  std::exception_ptr failure_;
};

}  // namespace levin::detail
