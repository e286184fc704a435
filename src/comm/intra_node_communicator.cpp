#include "intra_node_communicator.h"

#include <algorithm>

#include "reduce.h"

namespace levin::detail {
namespace {

// Up to this many bytes per rank, a collective uses slots: one barrier and a copy cost less than two barriers.
constexpr size_t slot_bytes = 16 << 10;

std::vector<std::byte*> moved(std::vector<std::byte*> addresses, size_t bytes) {
  for (auto& address : addresses) address += bytes;
  return addresses;
}

void reduce_to(std::byte* output, const std::vector<std::byte*>& sources, size_t count, at::ScalarType dtype, ReduceOp op) {
  reduce({&output, 1}, {sources.data(), sources.size()}, count, dtype, op);
}

}  // namespace

IntraNodeCommunicator::IntraNodeCommunicator(std::unique_ptr<NodeGroup> group)
    : group_(std::move(group)), calls_(group_->flight().add_communicator()) {
  rank_ = group_->rank();
  size_ = group_->size();
  headers_.resize(static_cast<size_t>(size_));
  const size_t cards = NodeTransfers::card_bytes(size_), counts = 4 * headers_.size() * sizeof(int64_t);
  slots_ = group_->allocate(4 * slot_bytes + cards + counts);
  Pointers card_addresses, inboxes;
  for (int i = 0; i < size_; i++) {
    inboxes.push_back(slots_->part(i) +
                      2 * slot_bytes);  // shared with the stage of a small window: no rank is in a collective and in a message at once
    card_addresses.push_back(slots_->part(i) + 4 * slot_bytes);
    counts_.push_back(reinterpret_cast<int64_t*>(card_addresses.back() + cards));
  }
  transfers_ = std::make_unique<NodeTransfers>(*group_, book_, std::move(card_addresses), std::move(inboxes), 2 * slot_bytes, rank_);
}

IntraNodeCommunicator::~IntraNodeCommunicator() = default;

void IntraNodeCommunicator::match_call(Call call, const Tensor* first, const Tensor* second) {
  call.header.sequence = ++sequence_;
  call.begin_in(*calls_);
  Header mine{call.header, {}, {}};
  const Tensor* tensors[] = {first, second};
  for (size_t i = 0; i < 2; i++)
    if (tensors[i]) {
      const auto location = book_.locate(*tensors[i]);
      mine.offsets[i] = location.offset;
      mine.windows[i] = location.window;
    }
  group_->exchange_structs(mine, std::span(headers_));
  const auto mismatch = std::find_if(headers_.begin(), headers_.end(), [&](const Header& other) { return other.call != headers_[0].call; });
  if (mismatch == headers_.end()) return;
  std::vector<Call> calls(headers_.size());
  group_->exchange_structs(call, std::span(calls));
  const auto rank = mismatch - headers_.begin();
  throw disagreement(0, calls[0], static_cast<int>(rank), calls[static_cast<size_t>(rank)]);
}

bool IntraNodeCommunicator::find_shared(const Tensor& tensor, size_t which, Pointers& addresses) const {
  std::vector<WindowBook::Location> found;
  for (const auto& header : headers_) found.push_back({header.offsets[which], header.windows[which]});
  addresses = book_.addresses(found, rank_, tensor);
  return !addresses.empty();
}

bool IntraNodeCommunicator::use_slots(size_t bytes, Pointers& addresses) const {
  if (bytes > slot_bytes) return false;
  // The slots of the collective before last are free: all ranks have since entered the last one.
  const size_t offset = (sequence() & 1) * slot_bytes;
  for (int i = 0; i < size_; i++) addresses.push_back(slots_->part(i) + offset);
  return true;
}

void IntraNodeCommunicator::prepare_stage() {
  if (stage_) return;
  for (size_t bytes : {size_t{512} << 10, size_t{64} << 10})
    if ((stage_ = group_->allocate(2 * bytes, OnNoSpace::return_null))) {
      stage_bytes_ = bytes;
      return;
    }
  stage_ = slots_;  // uses the second half of the slots
  stage_bytes_ = slot_bytes;
  stage_offset_ = 2 * slot_bytes;
}

void IntraNodeCommunicator::use_stage(size_t number, Pointers& addresses) const {
  addresses.resize(headers_.size());
  for (int i = 0; i < size_; i++) addresses[static_cast<size_t>(i)] = stage_->part(i) + stage_offset_ + (number & 1) * stage_bytes_;
}

Work IntraNodeCommunicator::all_reduce(const Tensor& tensor, ReduceOp op, std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  check_tensor(tensor);
  const auto dtype = tensor.scalar_type();
  check_reducible(dtype, op);
  const size_t count = static_cast<size_t>(tensor.numel()), element = tensor.element_size();
  const Call call(Kind::all_reduce, label, dtype, tensor.numel(), op);
  Pointers addresses;
  if (size_ == 1) {
    match_call(call);
  } else if (use_slots(tensor.nbytes(), addresses)) {
    move_bytes(addresses[static_cast<size_t>(rank_)], data_of(tensor), tensor.nbytes());
    match_call(call);
    reduce_to(data_of(tensor), addresses, count, dtype, op);
  } else {
    match_call(call, &tensor);
    if (find_shared(tensor, 0, addresses)) {
      // Each rank reduces its slice, and writes it to all ranks.
      const size_t begin = slice_begin(count, element, rank_, size_), end = slice_begin(count, element, rank_ + 1, size_);
      const Pointers slices = moved(std::move(addresses), begin * element);
      reduce(slices, {slices.data(), slices.size()}, end - begin, dtype, op);
      group_->barrier();
    } else {
      all_reduce_staged(data_of(tensor), count, dtype, op);
    }
  }
  return {};
}

void IntraNodeCommunicator::all_reduce_staged(std::byte* data, size_t count, at::ScalarType dtype, ReduceOp op) {
  prepare_stage();
  const size_t element = c10::elementSize(dtype), chunk = stage_bytes_ / element;
  Pointers addresses;
  for (size_t begin = 0, number = 0; begin < count; begin += chunk, number++) {
    use_stage(number, addresses);
    const size_t n = std::min(chunk, count - begin), first = slice_begin(n, element, rank_, size_),
                 last = slice_begin(n, element, rank_ + 1, size_);
    move_bytes(addresses[static_cast<size_t>(rank_)], data + begin * element, n * element);
    group_->barrier();
    reduce_to(addresses[static_cast<size_t>(rank_)] + first * element, moved(addresses, first * element), last - first, dtype, op);
    group_->barrier();
    for (int i = 0; i < size_; i++) {
      const size_t from = slice_begin(n, element, i, size_), to = slice_begin(n, element, i + 1, size_);
      move_bytes(data + (begin + from) * element, addresses[static_cast<size_t>(i)] + from * element, (to - from) * element);
    }
  }
}

Work IntraNodeCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  check_pair(input, output, size_);
  const auto dtype = input.scalar_type();
  check_reducible(dtype, op);
  const size_t count = static_cast<size_t>(output.numel()), element = output.element_size(), rank = static_cast<size_t>(rank_);
  const Call call(Kind::reduce_scatter, label, dtype, output.numel(), op);
  Pointers addresses;
  if (size_ == 1) {
    match_call(call);
    move_bytes(data_of(output), data_of(input), input.nbytes());
  } else if (use_slots(input.nbytes(), addresses)) {
    move_bytes(addresses[rank], data_of(input), input.nbytes());
    match_call(call);
    reduce_to(data_of(output), moved(std::move(addresses), rank * output.nbytes()), count, dtype, op);
  } else {
    match_call(call, &input);
    if (find_shared(input, 0, addresses)) {
      reduce_to(data_of(output), moved(std::move(addresses), rank * output.nbytes()), count, dtype, op);
      group_->barrier();  // all ranks have read this rank's input
      return {};
    }
    prepare_stage();
    const size_t chunk = stage_bytes_ / element / headers_.size();
    for (size_t begin = 0, number = 0; begin < count; begin += chunk, number++) {
      use_stage(number, addresses);
      const size_t n = std::min(chunk, count - begin);
      for (size_t i = 0; i < headers_.size(); i++)
        move_bytes(addresses[rank] + i * chunk * element, data_of(input) + (i * count + begin) * element, n * element);
      group_->barrier();
      reduce_to(data_of(output) + begin * element, moved(addresses, rank * chunk * element), n, dtype, op);
    }
  }
  return {};
}

Work IntraNodeCommunicator::all_gather(const Tensor& output, const Tensor& input, std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  check_pair(output, input, size_);
  const size_t bytes = input.nbytes(), rank = static_cast<size_t>(rank_);
  const Call call(Kind::all_gather, label, input.scalar_type(), input.numel());
  const auto take_all = [&](const Pointers& addresses, size_t offset, size_t n) {
    for (size_t i = 0; i < addresses.size(); i++) move_bytes(data_of(output) + i * bytes + offset, addresses[i], n);
  };
  Pointers addresses;
  if (size_ == 1) {
    match_call(call);
    move_bytes(data_of(output), data_of(input), bytes);
  } else if (use_slots(bytes, addresses)) {
    move_bytes(addresses[rank], data_of(input), bytes);
    match_call(call);
    take_all(addresses, 0, bytes);
  } else {
    match_call(call, &output, &input);
    if (find_shared(input, 1, addresses)) {
      take_all(addresses, 0, bytes);
      group_->barrier();
      return {};
    }
    if (find_shared(output, 0, addresses)) {
      for (std::byte* address : addresses) move_bytes(address + rank * bytes, data_of(input), bytes);
      group_->barrier();
      return {};
    }
    prepare_stage();
    for (size_t begin = 0, number = 0; begin < bytes; begin += stage_bytes_, number++) {
      use_stage(number, addresses);
      const size_t n = std::min(stage_bytes_, bytes - begin);
      move_bytes(addresses[rank], data_of(input) + begin, n);
      group_->barrier();
      take_all(addresses, begin, n);
    }
  }
  return {};
}

Work IntraNodeCommunicator::gather_shared(const Tensor& whole, std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  check_tensor(whole);
  check_divisible(whole, size_);
  match_call(Call(Kind::gather_shared, label, whole.scalar_type(), whole.numel()));
  return {};
}

Work IntraNodeCommunicator::broadcast(const Tensor& tensor, int root, std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  check_tensor(tensor);
  check_root(root, size_);
  const size_t bytes = tensor.nbytes(), from = static_cast<size_t>(root);
  const Call call(Kind::broadcast, label, tensor.scalar_type(), tensor.numel(), ReduceOp::sum, root);
  Pointers addresses;
  if (size_ == 1) {
    match_call(call);
  } else if (use_slots(bytes, addresses)) {
    if (rank_ == root) move_bytes(addresses[from], data_of(tensor), bytes);
    match_call(call);
    if (rank_ != root) move_bytes(data_of(tensor), addresses[from], bytes);
  } else {
    match_call(call, &tensor);
    if (find_shared(tensor, 0, addresses)) {
      move_bytes(data_of(tensor), addresses[from], bytes);
      group_->barrier();
      return {};
    }
    prepare_stage();
    for (size_t begin = 0, number = 0; begin < bytes; begin += stage_bytes_, number++) {
      use_stage(number, addresses);
      const size_t n = std::min(stage_bytes_, bytes - begin);
      if (rank_ == root) move_bytes(addresses[from], data_of(tensor) + begin, n);
      group_->barrier();
      if (rank_ != root) move_bytes(data_of(tensor) + begin, addresses[from], n);
    }
  }
  return {};
}

void IntraNodeCommunicator::barrier(std::string_view label) {
  const CallSlot::Scope call_scope(*calls_);
  match_call(Call(Kind::barrier, label));
}

Tensor IntraNodeCommunicator::allocate(int64_t numel, at::ScalarType dtype) {
  const CallSlot::Scope call_scope(*calls_);
  if (numel < 0) throw UsageError("comm", fmt::format("allocate({}) elements", numel), "pass a non-negative number");
  match_call(Call(Kind::allocate, {}, dtype, numel));
  const size_t bytes = static_cast<size_t>(numel) * c10::elementSize(dtype);
  return book_.add(group_->allocate(bytes), rank_, numel, dtype);
}

std::unique_ptr<Communicator> IntraNodeCommunicator::split(int color, int key) {
  const CallSlot::Scope call_scope(*calls_);
  match_call(Call(Kind::split));
  return std::make_unique<IntraNodeCommunicator>(group_->split(color, key));
}

}  // namespace levin::detail
