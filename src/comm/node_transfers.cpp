#include "node_transfers.h"

#include <algorithm>
#include <atomic>

namespace levin::detail {
namespace {

constexpr size_t inbox_chunks = 4;

}  // namespace

// Offers are double-buffered: a rank posts one message of a pair at a time, and completes it after the other side has posted it. When it
// reuses an offer, the other side has read it.
struct alignas(128) NodeTransfers::Offer {
  Call call;
  uint64_t offset;
  uint32_t window;
};

// In the sender's part, one per receiver. Counters cover all messages of the pair.
struct alignas(128) NodeTransfers::Outgoing {
  Offer offers[2];
  alignas(128) std::atomic<uint64_t> started;  // number of messages in calls so far
  std::atomic<uint64_t> posted;                // number of messages with an offer
  std::atomic<uint64_t> pushed;                // number of chunks written to the inbox
};

// In the receiver's part, one per sender.
struct alignas(128) NodeTransfers::Incoming {
  Offer offers[2];
  alignas(128) std::atomic<uint64_t> started, posted;  // as in Outgoing
  std::atomic<uint64_t> granted, done;                 // last message that may use the inbox; last one copied from its window
  std::atomic<uint64_t> drained;                       // number of chunks read from the inbox
};

struct NodeTransfers::Active {
  const Message message;
  const uint64_t number;  // counts from 1
  std::byte* data;
  size_t bytes, moved = 0;
  uint64_t first_chunk = 0;
  bool posted = false, agreed = false, streams = false, complete = false;
};

size_t NodeTransfers::card_bytes(int ranks) { return static_cast<size_t>(ranks) * (sizeof(Outgoing) + sizeof(Incoming)); }

NodeTransfers::NodeTransfers(NodeGroup& group, const WindowBook& book, std::vector<std::byte*> cards, std::vector<std::byte*> inboxes,
                             size_t inbox_bytes, int self_name)
    : group_(group),
      book_(book),
      cards_(std::move(cards)),
      inboxes_(std::move(inboxes)),
      chunk_bytes_(inbox_bytes / inbox_chunks),
      self_name_(self_name),
      sent_(cards_.size()),
      received_(cards_.size()) {}

NodeTransfers::~NodeTransfers() = default;

NodeTransfers::Outgoing& NodeTransfers::outgoing(int from, int to) const {
  return reinterpret_cast<Outgoing*>(cards_[static_cast<size_t>(from)])[to];
}

NodeTransfers::Incoming& NodeTransfers::incoming(int from, int to) const {
  auto* after = reinterpret_cast<Outgoing*>(cards_[static_cast<size_t>(to)]) + cards_.size();
  return reinterpret_cast<Incoming*>(after)[from];
}

void NodeTransfers::start(std::span<const Message> messages) {
  // Receives first: a peer that sees this rank's send must also see whether it receives (see check_crossing).
  for (const bool sends : {false, true})
    for (const auto& message : messages) {
      if (message.sends != sends) continue;
      const uint64_t number = ++(sends ? sent_ : received_)[static_cast<size_t>(message.peer)].started;
      active_.push_back(std::make_unique<Active>(Active{message, number, data_of(message.tensor), message.tensor.nbytes()}));
      auto& started = sends ? outgoing(group_.rank(), message.peer).started : incoming(message.peer, group_.rank()).started;
      started.store(number, std::memory_order_release);
    }
}

bool NodeTransfers::progress() {
  bool moved = false;
  for (auto& message : active_)
    if (message->posted || post(*message)) moved = (message->message.sends ? send_step(*message) : receive_step(*message)) || moved;
  if (moved) std::erase_if(active_, [](const auto& message) { return message->complete; });
  return moved;
}

bool NodeTransfers::post(Active& message) {
  const bool sends = message.message.sends;
  const int peer = message.message.peer;
  if (message.number != (sends ? sent_ : received_)[static_cast<size_t>(peer)].completed + 1) return false;
  auto& out = outgoing(group_.rank(), peer);
  auto& in = incoming(peer, group_.rank());
  auto& offer = (sends ? out.offers : in.offers)[message.number & 1];
  offer.call = message.message.call;
  offer.call.header.sequence = message.number;
  const auto location = sends ? book_.locate(message.message.tensor) : WindowBook::Location{};
  offer.window = location.window;
  offer.offset = location.offset;
  (sends ? out.posted : in.posted).store(message.number, std::memory_order_release);
  return message.posted = true;
}

bool NodeTransfers::finish(Active& message, const Call* send, const Call* recv) {
  message.complete = true;
  (message.message.sends ? sent_ : received_)[static_cast<size_t>(message.message.peer)].completed++;
  if (send && !failure_) {
    const int self = self_name_, peer = message.message.peer_name;
    const bool sender_first = message.message.sends == (self < peer);
    failure_ = std::make_exception_ptr(sender_first ? disagreement(std::min(self, peer), *send, std::max(self, peer), *recv)
                                                    : disagreement(std::min(self, peer), *recv, std::max(self, peer), *send));
  }
  return true;
}

bool NodeTransfers::send_step(Active& message) {
  const int self = group_.rank(), peer = message.message.peer;
  auto& in = incoming(self, peer);
  if (!message.agreed) {
    if (in.posted.load(std::memory_order_acquire) < message.number) {
      check_crossing(message);
      return false;
    }
    const auto &out = outgoing(self, peer).offers[message.number & 1].call, &expected = in.offers[message.number & 1].call;
    if (!message_matches(out.header, expected.header)) return finish(message, &out, &expected);
    message.agreed = true;
    if (message.bytes == 0) return finish(message);
  }
  if (message.streams) return push(message);
  if (in.done.load(std::memory_order_acquire) >= message.number) return finish(message);
  if (in.granted.load(std::memory_order_acquire) < message.number) return false;
  message.streams = true;
  message.first_chunk = outgoing(self, peer).pushed.load(std::memory_order_relaxed);
  return push(message);
}

bool NodeTransfers::push(Active& message) {
  auto& out = outgoing(group_.rank(), message.message.peer);
  const auto& in = incoming(group_.rank(), message.message.peer);
  const uint64_t chunk = out.pushed.load(std::memory_order_relaxed);
  if (chunk - in.drained.load(std::memory_order_acquire) >= inbox_chunks) return false;
  const size_t bytes = std::min(chunk_bytes_, message.bytes - message.moved), slot = (chunk - message.first_chunk) % inbox_chunks;
  move_bytes(inboxes_[static_cast<size_t>(message.message.peer)] + slot * chunk_bytes_, message.data + message.moved, bytes);
  message.moved += bytes;
  out.pushed.store(chunk + 1, std::memory_order_release);
  return message.moved < message.bytes || finish(message);
}

bool NodeTransfers::receive_step(Active& message) {
  const int self = group_.rank(), peer = message.message.peer;
  const auto& out = outgoing(peer, self);
  auto& in = incoming(peer, self);
  if (!message.agreed) {
    if (out.posted.load(std::memory_order_acquire) < message.number) return false;
    const auto &sent = out.offers[message.number & 1].call, &expected = in.offers[message.number & 1].call;
    if (!message_matches(sent.header, expected.header)) return finish(message, &sent, &expected);
    message.agreed = true;
    if (message.bytes == 0) return finish(message);
  }
  if (message.streams) return drain(message);
  const auto& offer = out.offers[message.number & 1];
  if (const auto [source, window] = book_.find({offer.offset, offer.window}, peer); source) {
    move_bytes(message.data, source, message.bytes);
    in.done.store(message.number, std::memory_order_release);
    return finish(message);
  }
  if (inbox_user_) return false;
  inbox_user_ = &message;
  message.streams = true;
  message.first_chunk = in.drained.load(std::memory_order_relaxed);
  in.granted.store(message.number, std::memory_order_release);
  return true;
}

bool NodeTransfers::drain(Active& message) {
  const auto& out = outgoing(message.message.peer, group_.rank());
  auto& in = incoming(message.message.peer, group_.rank());
  const uint64_t chunk = in.drained.load(std::memory_order_relaxed);
  if (out.pushed.load(std::memory_order_acquire) <= chunk) return false;
  const size_t bytes = std::min(chunk_bytes_, message.bytes - message.moved), slot = (chunk - message.first_chunk) % inbox_chunks;
  move_bytes(message.data + message.moved, inboxes_[static_cast<size_t>(group_.rank())] + slot * chunk_bytes_, bytes);
  message.moved += bytes;
  in.drained.store(chunk + 1, std::memory_order_release);
  if (message.moved < message.bytes) return true;
  inbox_user_ = nullptr;
  return finish(message);
}

// Deadlock detection: this rank and the peer send to each other, and neither has a matching recv in its call.
void NodeTransfers::check_crossing(const Active& message) {
  const int self = group_.rank(), peer = message.message.peer;
  if (outgoing(peer, self).started.load(std::memory_order_acquire) <= received_[static_cast<size_t>(peer)].started) return;
  if (incoming(self, peer).started.load(std::memory_order_acquire) >= message.number) return;
  const auto words = peer == self
                         ? fmt::format("rank {} sends to itself and does not receive", self_name_)
                         : fmt::format("ranks {} and {} send to each other, and neither receives",
                                       std::min(self_name_, message.message.peer_name), std::max(self_name_, message.message.peer_name));
  group_.abort(words);
  throw CommunicatorError(words, "put the send and the recv that cross into one transfer()");
}

void NodeTransfers::rethrow() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace levin::detail
