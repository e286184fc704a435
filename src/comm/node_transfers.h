#pragma once
#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "collective.h"
#include "levin/comm/node_group.h"
#include "window_book.h"

namespace levin::detail {

/// A send or recv in progress, inside a node or between nodes.
struct Message {
  bool sends = false;
  Tensor tensor;
  int peer = 0;       ///< the other rank, in the node or in the communicator, depending on the transport
  int peer_name = 0;  ///< the same rank in the communicator, for errors
  Call call;
};

/// Messages between ranks of one node, through shared memory only. Each ordered pair of ranks has two cards: the sender's, which describes
/// the sent message, and the receiver's, which describes the expected one. When both are posted and agree, the receiver copies a tensor in
/// a window directly; other tensors pass through the receiver's inbox in chunks, one message at a time. A rank grants its inbox only to a
/// sender that appears in its own call, so no cycle of ranks can wait for inboxes.
class NodeTransfers {
 public:
  /// Size of the zero-filled shared memory that the cards need in each rank's part.
  static size_t card_bytes(int ranks);
  /// `cards` and `inboxes` are the addresses for all ranks of the node, multiples of 128 bytes. `self_name` is this rank, as in
  /// Message::peer_name.
  NodeTransfers(NodeGroup& group, const WindowBook& book, std::vector<std::byte*> cards, std::vector<std::byte*> inboxes,
                size_t inbox_bytes, int self_name);
  ~NodeTransfers();

  /// Starts messages; their tensors must live until all are complete.
  void start(std::span<const Message> messages);
  /// Advances all messages without waiting; returns whether any message progressed.
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
  std::vector<Progress> sent_, received_;  // number of messages so far, by peer
  std::exception_ptr failure_;
};

}  // namespace levin::detail
