// all_to_all and point-to-point messages of IntraNodeCommunicator.
#include <algorithm>

#include "intra_node_communicator.h"
#include "levin/comm/wait_timer.h"

namespace levin::detail {

void IntraNodeCommunicator::publish_counts(std::span<const int64_t> sent, std::span<const int64_t> expected) {
  // Double-buffered, as the slots.
  int64_t* mine = counts_[static_cast<size_t>(rank_)] + (sequence() & 1) * 2 * headers_.size();
  std::copy(expected.begin(), expected.end(), std::copy(sent.begin(), sent.end(), mine));
}

int64_t IntraNodeCommunicator::check_published(std::span<const int64_t> sent, std::span<const int64_t> expected, const Call& call) {
  struct Verdict {
    int64_t most, sent, expected;
    int32_t sender, receiver;
  };
  const size_t ranks = headers_.size(), self = static_cast<size_t>(rank_);
  Verdict mine{std::max(*std::max_element(sent.begin(), sent.end()), *std::max_element(expected.begin(), expected.end())), 0, 0, -1, rank_};
  for (size_t i = 0; i < ranks && mine.sender < 0; i++)
    if (const int64_t given = counts_[i][((sequence() - 1) & 1) * 2 * ranks + self]; given != expected[i])
      mine = {0, given, expected[i], static_cast<int32_t>(i), rank_};
  std::vector<Verdict> all(ranks);
  group_->exchange_structs(mine, std::span(all));
  int64_t most = 0;
  for (const auto& verdict : all) {
    if (verdict.sender >= 0) throw count_disagreement(verdict.sender, verdict.sent, verdict.receiver, verdict.expected, call);
    most = std::max(most, verdict.most);
  }
  return most;
}

Work IntraNodeCommunicator::all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                                       std::span<const int64_t> input_counts, std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  const auto sent = check_counts(input, input_counts, size_), expected = check_counts(output, output_counts, size_);
  Call call(Kind::all_to_all, label, input.scalar_type(), 0);
  call.header.has_counts = !input_counts.empty() || !output_counts.empty();
  check_sides(output, input, call.header.has_counts);
  int64_t most = 0;
  if (call.header.has_counts) {
    publish_counts(sent, expected);
    match_call(call, &input);
    call.header.sequence = sequence();
    most = check_published(sent, expected, call);
  } else {
    call.header.count = most = input.numel() / size_;
    match_call(call, &input);
  }
  const size_t element = input.element_size(), rank = static_cast<size_t>(rank_);
  std::vector<size_t> from, to;  // offsets of the parts, in bytes
  for (size_t i = 0, input_bytes = 0, output_bytes = 0; i < headers_.size(); i++) {
    from.push_back(input_bytes);
    to.push_back(output_bytes);
    input_bytes += static_cast<size_t>(sent[i]) * element;
    output_bytes += static_cast<size_t>(expected[i]) * element;
  }
  if (most == 0) return {};
  if (size_ == 1) {
    move_bytes(data_of(output), data_of(input), input.nbytes());
    return {};
  }
  // Equal parts in windows are read in place. With different counts a rank does not know the offsets of the others' parts.
  Pointers addresses;
  if (!call.header.has_counts && find_shared(input, 0, addresses)) {
    for (size_t i = 0; i < addresses.size(); i++)
      move_bytes(data_of(output) + to[i], addresses[i] + from[rank], static_cast<size_t>(expected[i]) * element);
    group_->barrier();  // all ranks have read this rank's input
    return {};
  }
  prepare_stage();
  const size_t chunk = std::max<size_t>(1, stage_bytes_ / element / headers_.size()) * element, bytes = static_cast<size_t>(most) * element;
  for (size_t begin = 0, number = 0; begin < bytes; begin += chunk, number++) {
    use_stage(number, addresses);
    const auto part = [&](int64_t count) { return std::min(chunk, std::max(static_cast<size_t>(count) * element, begin) - begin); };
    for (size_t i = 0; i < addresses.size(); i++) move_bytes(addresses[rank] + i * chunk, data_of(input) + from[i] + begin, part(sent[i]));
    group_->barrier();
    for (size_t i = 0; i < addresses.size(); i++)
      move_bytes(data_of(output) + to[i] + begin, addresses[i] + rank * chunk, part(expected[i]));
  }
  return {};
}

Work IntraNodeCommunicator::transfer(std::span<const Transfer> transfers, std::string_view label) {
  check_transfers(transfers, size_);
  std::vector<Message> messages;
  for (const auto& [direction, tensor, peer] : transfers) {
    const bool sends = direction == Transfer::Direction::send;
    messages.push_back({sends, tensor, peer, peer,
                        Call(sends ? Kind::send : Kind::recv, label, tensor.scalar_type(), tensor.numel(), ReduceOp::sum, peer)});
  }
  const CallSlot::Scope call_scope(*calls_);
  if (!messages.empty()) messages.front().call.begin_in(*calls_);
  group_->pause(0);  // throws after an abort
  transfers_->start(messages);
  const WaitTimer timer;
  for (int turns = 0; !transfers_->complete();) {
    if (transfers_->progress())
      turns = 0;
    else
      group_->pause(turns++);
  }
  transfers_->rethrow();
  return {};
}

}  // namespace levin::detail
