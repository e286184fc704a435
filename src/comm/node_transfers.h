#pragma once
#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "collective.h"
#include "levin/comm/node_group.h"
#include "window_book.h"

namespace levin::detail {

/// A send or recv under way: the same on a node and between nodes.
struct Message {
  bool sends = false;
  Tensor tensor;
  int peer = 0;       ///< where it is looked up: the rank in the node or in the communicator
  int peer_name = 0;  ///< for errors: the rank in the communicator
  Call call;
};

/// Messages between ranks of one node, through shared memory alone. Each ordered pair of ranks has two cards: the sender's, with what it
/// sends, and the receiver's, with what it expects. When both are there and agree, the receiver copies a tensor that lies in a window
/// where it is; others pass through the receiver's inbox in chunks, one message at a time. A rank grants its inbox only to a sender that
/// is in its own call, so no cycle of ranks can wait for inboxes.
class NodeTransfers {
 public:
  /// Of shared memory that it needs in each rank's part, zero-filled.
  static size_t card_bytes(int ranks);
  /// `cards` and `inboxes` are every rank's, by the node's rank; a part starts at a multiple of 128 bytes. `self_name` as
  /// Message::peer_name.
  NodeTransfers(NodeGroup& group, const WindowBook& book, std::vector<std::byte*> cards, std::vector<std::byte*> inboxes,
                size_t inbox_bytes, int self_name);
  ~NodeTransfers();

  /// Starts messages; their tensors must live until all are complete.
  void start(std::span<const Message> messages);
  /// Moves what can be moved without waiting; whether anything moved.
  bool progress();
  bool complete() const noexcept { return active_.empty(); }
  /// Throws the first disagreement among completed messages.
  void rethrow();

 private:
  struct Offer;
  struct Outgoing;
  struct Incoming;
  struct Active;
  Outgoing& outgoing(int from, int to) const;
  Incoming& incoming(int from, int to) const;
  bool post(Active& message);
  bool send_step(Active& message);
  bool receive_step(Active& message);
  bool push(Active& message);
  bool drain(Active& message);
  bool finish(Active& message, const Call* send = nullptr, const Call* recv = nullptr);
  void check_crossing(const Active& message);

  NodeGroup& group_;
  const WindowBook& book_;
  std::vector<std::byte*> cards_, inboxes_;
  size_t chunk_bytes_;
  int self_name_;
  std::vector<std::unique_ptr<Active>> active_;
  const Active* inbox_user_ = nullptr;
  struct Progress {
    uint64_t started = 0, completed = 0;
  };
  std::vector<Progress> sent_, received_;  // messages so far, by peer
  std::exception_ptr failure_;
};

}  // namespace levin::detail
