// Point-to-point messages of HierarchicalCommunicator, and all_to_all on top of them.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "hierarchical_communicator.h"

namespace levin::detail {

Message HierarchicalCommunicator::message(bool sends, const Tensor& tensor, int peer, std::string_view label) const {
  return {sends, tensor, local_ranks_[static_cast<size_t>(peer)], peer,
          Call(sends ? Kind::send : Kind::recv, label, tensor.scalar_type(), tensor.numel(), ReduceOp::sum, peer)};
}

void HierarchicalCommunicator::run_messages(const std::vector<Message>& messages) {
  std::vector<Message> on_node, between;
  for (const auto& message : messages) (message.peer >= 0 ? on_node : between).push_back(message);
  if (!messages.empty()) messages.front().call.begin_in(*calls_);
  lane_->pause(0);  // throws after an abort
  node_transfers_->start(on_node);
  mpi_transfers_->start(between);
  for (int turns = 0; !node_transfers_->complete() || !mpi_transfers_->complete();) {
    const bool on_node_moved = node_transfers_->progress(), between_moved = mpi_transfers_->progress();
    if (on_node_moved || between_moved)
      turns = 0;
    else
      lane_->pause(turns++);
  }
  node_transfers_->rethrow();
  mpi_transfers_->rethrow();
}

Work HierarchicalCommunicator::transfer(std::span<const Transfer> transfers, std::string_view label) {
  check_transfers(transfers, size_);
  std::vector<Message> messages;
  for (const auto& [direction, tensor, peer] : transfers)
    messages.push_back(message(direction == Transfer::Direction::send, tensor, peer, label));
  return run([this, messages = std::move(messages)] { run_messages(messages); });
}

void HierarchicalCommunicator::check_pairs(const Tensor& sent, const Tensor& expected, const Call& call) {
  const auto given = at::empty_like(expected);
  exchange_parts(given, std::vector<int64_t>(static_cast<size_t>(size_), 1), sent, std::vector<int64_t>(static_cast<size_t>(size_), 1),
                 "the counts of all_to_all");
  struct Verdict {
    int64_t sent, expected;
    int sender = -1, receiver;
  };
  Verdict verdict{0, 0, -1, rank_};
  for (int i = 0; i < size_ && verdict.sender < 0; i++) {
    const int64_t got = given.const_data_ptr<int64_t>()[i], needed = expected.const_data_ptr<int64_t>()[i];
    if (got != needed) verdict = {got, needed, i, rank_};
  }
  const auto first_bad = [](const std::vector<Verdict>& verdicts) {
    const auto bad = std::find_if(verdicts.begin(), verdicts.end(), [](const Verdict& candidate) { return candidate.sender >= 0; });
    return bad == verdicts.end() ? verdicts.front() : *bad;
  };
  std::vector<Verdict> local(local_size());
  lane_->exchange_structs(verdict, std::span(local));
  verdict = first_bad(local);
  if (leads()) {
    std::vector<Verdict> hosts(hosts_.size());
    std::ranges::copy(link_->all_gather(std::as_bytes(std::span(&verdict, 1))), std::as_writable_bytes(std::span(hosts)).begin());
    verdict = first_bad(hosts);
  }
  lane_->exchange_structs(verdict, std::span(local));
  if (local[0].sender >= 0) throw count_disagreement(local[0].sender, local[0].sent, local[0].receiver, local[0].expected, call);
}

void HierarchicalCommunicator::exchange_parts(const Tensor& output, const std::vector<int64_t>& expected, const Tensor& input,
                                              const std::vector<int64_t>& sent, std::string_view label) {
  constexpr int at_once = 64;
  const auto flat_input = input.view({-1}), flat_output = output.view({-1});
  std::vector<int64_t> from{0}, to{0};
  for (const int64_t count : sent) from.push_back(from.back() + count);
  for (const int64_t count : expected) to.push_back(to.back() + count);
  const auto part = [](const Tensor& whole, const std::vector<int64_t>& begins, int rank) {
    const auto i = static_cast<size_t>(rank);
    return whole.narrow(0, begins[i], begins[i + 1] - begins[i]);
  };
  const auto mine = part(flat_input, from, rank_);
  move_bytes(data_of(part(flat_output, to, rank_)), data_of(mine), mine.nbytes());
  for (int first = 1; first < size_; first += at_once) {
    std::vector<Message> messages;
    for (int step = first; step < std::min(size_, first + at_once); step++) {
      const int receiver = (rank_ + step) % size_, sender = (rank_ - step + size_) % size_;
      if (sent[static_cast<size_t>(receiver)] > 0) messages.push_back(message(true, part(flat_input, from, receiver), receiver, label));
      if (expected[static_cast<size_t>(sender)] > 0) messages.push_back(message(false, part(flat_output, to, sender), sender, label));
    }
    run_messages(messages);
  }
}

Work HierarchicalCommunicator::all_to_all(const Tensor& output, std::span<const int64_t> output_counts, const Tensor& input,
                                          std::span<const int64_t> input_counts, std::string_view label) {
  auto sent = check_counts(input, input_counts, size_), expected = check_counts(output, output_counts, size_);
  const bool has_counts = !input_counts.empty() || !output_counts.empty();
  check_sides(output, input, has_counts);
  Call call(Kind::all_to_all, label, input.scalar_type(), has_counts ? 0 : input.numel() / size_);
  call.header.has_counts = has_counts;
  return run([=, this, call = next(call), text = std::string(label), sent = std::move(sent), expected = std::move(expected)] {
    match_call(call);
    if (call.header.has_counts) check_pairs(at::tensor(sent), at::tensor(expected), call);
    exchange_parts(output, expected, input, sent, text);
  });
}

}  // namespace levin::detail
