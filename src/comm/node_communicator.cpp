#include "node_communicator.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>

#include "reduce.h"

namespace levin::detail {
namespace {

// Up to this many bytes a rank a message goes through slots: one barrier and a copy cost less than two barriers.
constexpr size_t slot_bytes = 16 << 10;

enum Kind { all_reduce_kind, reduce_scatter_kind, all_gather_kind, broadcast_kind, barrier_kind, allocate_kind, split_kind };
constexpr const char* kind_names[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast", "barrier", "allocate", "split"};

// A call in one number, exact in a double: kind, and op, dtype, root where it has them.
constexpr int64_t root_unit = 8192;
double encode(Kind kind, at::ScalarType dtype = at::ScalarType::Undefined, ReduceOp op = ReduceOp::sum, int root = 0) {
  return static_cast<double>(kind + 8 * static_cast<int>(op) + 32 * static_cast<int>(dtype) + root_unit * root);
}

std::byte* data_of(const Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }

void check_tensor(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || !tensor.is_contiguous())
    throw UsageError("comm", "a collective on a tensor that is undefined, not contiguous or not in host memory",
                     "give tensor.contiguous().cpu()");
}

void check_pair(const Tensor& whole, const Tensor& part, int size) {
  check_tensor(whole);
  check_tensor(part);
  if (whole.numel() != part.numel() * size || whole.scalar_type() != part.scalar_type())
    throw UsageError("comm",
                     fmt::format("the whole has {} elements of {} and this rank's part {} of {}", whole.numel(),
                                 c10::toString(whole.scalar_type()), part.numel(), c10::toString(part.scalar_type())),
                     fmt::format("the whole of {} ranks has {} times as many elements of the same dtype", size, size));
}

void move_bytes(std::byte* to, const std::byte* from, size_t bytes) {
  if (to != from && bytes != 0) std::memcpy(to, from, bytes);
}

// Where a rank's slice begins: equal slices, cut at cache lines so that two ranks never write to one.
size_t slice_begin(size_t count, size_t element_bytes, int rank, int size) {
  const size_t line = 64 / element_bytes, lines = (count + line - 1) / line, ranks = static_cast<size_t>(size);
  return std::min(count, (lines + ranks - 1) / ranks * static_cast<size_t>(rank) * line);
}

std::vector<std::byte*> moved(std::vector<std::byte*> places, size_t bytes) {
  for (auto& place : places) place += bytes;
  return places;
}

void reduce_to(std::byte* output, const std::vector<std::byte*>& sources, size_t count, at::ScalarType dtype, ReduceOp op) {
  reduce({&output, 1}, {sources.data(), sources.size()}, count, dtype, op);
}

}  // namespace

NodeCommunicator::NodeCommunicator(std::unique_ptr<NodeGroup> group) : group_(std::move(group)) {
  rank_ = group_->rank();
  size_ = group_->size();
  headers_.resize(static_cast<size_t>(size_));
  if (size_ > 1) slots_ = group_->allocate(4 * slot_bytes);
}

void NodeCommunicator::locate(const Tensor& tensor, double& window, double& offset) const {
  const std::byte* begin = data_of(tensor);
  for (const auto& area : allocated_)
    if (begin >= area.begin && begin + tensor.nbytes() <= area.end && !area.window.expired()) {
      window = area.id;
      offset = static_cast<double>(begin - area.begin);
    }
}

std::string NodeCommunicator::describe(const Header& header) {
  const auto call = static_cast<int64_t>(header.call);
  const auto kind = static_cast<Kind>(call % 8);
  const auto dtype = static_cast<at::ScalarType>(call / 32 % 256);
  std::string text = fmt::format("{} number {:.0f}", kind_names[kind], header.sequence);
  if (kind == barrier_kind || kind == split_kind) return text;
  text += fmt::format(" of {:.0f} {}", header.numel, c10::toString(dtype));
  if (kind == broadcast_kind) text += fmt::format(" from root {}", call / root_unit);
  if (kind == all_reduce_kind || kind == reduce_scatter_kind) text += fmt::format(", {}", name_of(static_cast<ReduceOp>(call / 8 % 4)));
  return text;
}

void NodeCommunicator::meet(double call, int64_t numel, const Tensor* first, const Tensor* second) {
  Header mine{call, static_cast<double>(numel), static_cast<double>(++sequence_), {{0, 0}, {0, 0}}};
  if (first) locate(*first, mine.tensors[0].window, mine.tensors[0].offset);
  if (second) locate(*second, mine.tensors[1].window, mine.tensors[1].offset);
  constexpr size_t values = sizeof(Header) / sizeof(double);
  group_->exchange({&mine.call, values}, {&headers_[0].call, values * headers_.size()});
  for (int i = 1; i < size_; i++) {
    const Header &one = headers_[0], &other = headers_[static_cast<size_t>(i)];
    if (one.call != other.call || one.numel != other.numel || one.sequence != other.sequence)
      throw CommunicatorError(fmt::format("the ranks disagree: rank 0 is in {}, rank {} in {}", describe(one), i, describe(other)),
                              "make the same calls in the same order on all ranks");
  }
}

bool NodeCommunicator::find_shared(const Tensor& tensor, int which, Pointers& places) const {
  const double id = headers_[0].tensors[which].window;
  if (id == 0) return false;
  for (const auto& header : headers_)
    if (header.tensors[which].window != id) return false;
  const auto area = std::find_if(allocated_.begin(), allocated_.end(), [&](const auto& one) { return one.id == id; });
  const auto window = area->window.lock();  // alive: `tensor` holds it
  places.resize(headers_.size());
  for (int i = 0; i < size_; i++)
    places[static_cast<size_t>(i)] = window->part(i) + static_cast<size_t>(headers_[static_cast<size_t>(i)].tensors[which].offset);
  return places[static_cast<size_t>(rank_)] == data_of(tensor);
}

bool NodeCommunicator::use_slots(size_t bytes, Pointers& places) const {
  if (bytes > slot_bytes) return false;
  // The slots of the collective before last are free: all ranks have met in the last one.
  const size_t offset = (sequence() & 1) * slot_bytes;
  for (int i = 0; i < size_; i++) places.push_back(slots_->part(i) + offset);
  return true;
}

void NodeCommunicator::prepare_stage() {
  if (stage_) return;
  for (size_t bytes : {size_t{512} << 10, size_t{64} << 10})
    if ((stage_ = group_->allocate(2 * bytes, WhenShort::return_null))) {
      stage_bytes_ = bytes;
      return;
    }
  stage_ = slots_;  // its second half
  stage_bytes_ = slot_bytes;
  stage_offset_ = 2 * slot_bytes;
}

void NodeCommunicator::use_stage(size_t number, Pointers& places) const {
  places.resize(headers_.size());
  for (int i = 0; i < size_; i++) places[static_cast<size_t>(i)] = stage_->part(i) + stage_offset_ + (number & 1) * stage_bytes_;
}

Work NodeCommunicator::all_reduce(const Tensor& tensor, ReduceOp op) {
  check_tensor(tensor);
  const auto dtype = tensor.scalar_type();
  check_reducible(dtype, op);
  const size_t count = static_cast<size_t>(tensor.numel()), element = tensor.element_size();
  const double call = encode(all_reduce_kind, dtype, op);
  Pointers places;
  if (size_ == 1) {
    meet(call, tensor.numel());
  } else if (use_slots(tensor.nbytes(), places)) {
    move_bytes(places[static_cast<size_t>(rank_)], data_of(tensor), tensor.nbytes());
    meet(call, tensor.numel());
    reduce_to(data_of(tensor), places, count, dtype, op);
  } else {
    meet(call, tensor.numel(), &tensor);
    if (find_shared(tensor, 0, places)) {
      // Each rank reduces its slice, and writes it to all.
      const size_t begin = slice_begin(count, element, rank_, size_), end = slice_begin(count, element, rank_ + 1, size_);
      const Pointers slices = moved(std::move(places), begin * element);
      reduce(slices, {slices.data(), slices.size()}, end - begin, dtype, op);
      group_->barrier();
    } else {
      all_reduce_staged(data_of(tensor), count, dtype, op);
    }
  }
  return {};
}

void NodeCommunicator::all_reduce_staged(std::byte* data, size_t count, at::ScalarType dtype, ReduceOp op) {
  prepare_stage();
  const size_t element = c10::elementSize(dtype), chunk = stage_bytes_ / element;
  Pointers places;
  for (size_t begin = 0, number = 0; begin < count; begin += chunk, number++) {
    use_stage(number, places);
    const size_t n = std::min(chunk, count - begin), first = slice_begin(n, element, rank_, size_),
                 last = slice_begin(n, element, rank_ + 1, size_);
    move_bytes(places[static_cast<size_t>(rank_)], data + begin * element, n * element);
    group_->barrier();
    reduce_to(places[static_cast<size_t>(rank_)] + first * element, moved(places, first * element), last - first, dtype, op);
    group_->barrier();
    for (int i = 0; i < size_; i++) {
      const size_t from = slice_begin(n, element, i, size_), to = slice_begin(n, element, i + 1, size_);
      move_bytes(data + (begin + from) * element, places[static_cast<size_t>(i)] + from * element, (to - from) * element);
    }
  }
}

Work NodeCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op) {
  check_pair(input, output, size_);
  const auto dtype = input.scalar_type();
  check_reducible(dtype, op);
  const size_t count = static_cast<size_t>(output.numel()), element = output.element_size(), rank = static_cast<size_t>(rank_);
  const double call = encode(reduce_scatter_kind, dtype, op);
  Pointers places;
  if (size_ == 1) {
    meet(call, output.numel());
    move_bytes(data_of(output), data_of(input), input.nbytes());
  } else if (use_slots(input.nbytes(), places)) {
    move_bytes(places[rank], data_of(input), input.nbytes());
    meet(call, output.numel());
    reduce_to(data_of(output), moved(std::move(places), rank * output.nbytes()), count, dtype, op);
  } else {
    meet(call, output.numel(), &input);
    if (find_shared(input, 0, places)) {
      reduce_to(data_of(output), moved(std::move(places), rank * output.nbytes()), count, dtype, op);
      group_->barrier();  // nobody reads this rank's input any more
      return {};
    }
    prepare_stage();
    const size_t chunk = stage_bytes_ / element / headers_.size();
    for (size_t begin = 0, number = 0; begin < count; begin += chunk, number++) {
      use_stage(number, places);
      const size_t n = std::min(chunk, count - begin);
      for (size_t i = 0; i < headers_.size(); i++)
        move_bytes(places[rank] + i * chunk * element, data_of(input) + (i * count + begin) * element, n * element);
      group_->barrier();
      reduce_to(data_of(output) + begin * element, moved(places, rank * chunk * element), n, dtype, op);
    }
  }
  return {};
}

Work NodeCommunicator::all_gather(const Tensor& output, const Tensor& input) {
  check_pair(output, input, size_);
  const size_t bytes = input.nbytes(), rank = static_cast<size_t>(rank_);
  const double call = encode(all_gather_kind, input.scalar_type());
  const auto take_all = [&](const Pointers& places, size_t offset, size_t n) {
    for (size_t i = 0; i < places.size(); i++) move_bytes(data_of(output) + i * bytes + offset, places[i], n);
  };
  Pointers places;
  if (size_ == 1) {
    meet(call, input.numel());
    move_bytes(data_of(output), data_of(input), bytes);
  } else if (use_slots(bytes, places)) {
    move_bytes(places[rank], data_of(input), bytes);
    meet(call, input.numel());
    take_all(places, 0, bytes);
  } else {
    meet(call, input.numel(), &output, &input);
    if (find_shared(input, 1, places)) {
      take_all(places, 0, bytes);
      group_->barrier();
      return {};
    }
    if (find_shared(output, 0, places)) {
      for (std::byte* place : places) move_bytes(place + rank * bytes, data_of(input), bytes);
      group_->barrier();
      return {};
    }
    prepare_stage();
    for (size_t begin = 0, number = 0; begin < bytes; begin += stage_bytes_, number++) {
      use_stage(number, places);
      const size_t n = std::min(stage_bytes_, bytes - begin);
      move_bytes(places[rank], data_of(input) + begin, n);
      group_->barrier();
      take_all(places, begin, n);
    }
  }
  return {};
}

Work NodeCommunicator::broadcast(const Tensor& tensor, int root) {
  check_tensor(tensor);
  if (root < 0 || root >= size_)
    throw UsageError("comm", fmt::format("broadcast from rank {} of {}", root, size_), "give a rank of the communicator");
  const size_t bytes = tensor.nbytes(), from = static_cast<size_t>(root);
  const double call = encode(broadcast_kind, tensor.scalar_type(), ReduceOp::sum, root);
  Pointers places;
  if (size_ == 1) {
    meet(call, tensor.numel());
  } else if (use_slots(bytes, places)) {
    if (rank_ == root) move_bytes(places[from], data_of(tensor), bytes);
    meet(call, tensor.numel());
    if (rank_ != root) move_bytes(data_of(tensor), places[from], bytes);
  } else {
    meet(call, tensor.numel(), &tensor);
    if (find_shared(tensor, 0, places)) {
      move_bytes(data_of(tensor), places[from], bytes);
      group_->barrier();
      return {};
    }
    prepare_stage();
    for (size_t begin = 0, number = 0; begin < bytes; begin += stage_bytes_, number++) {
      use_stage(number, places);
      const size_t n = std::min(stage_bytes_, bytes - begin);
      if (rank_ == root) move_bytes(places[from], data_of(tensor) + begin, n);
      group_->barrier();
      if (rank_ != root) move_bytes(data_of(tensor) + begin, places[from], n);
    }
  }
  return {};
}

void NodeCommunicator::barrier() { meet(encode(barrier_kind), 0); }

Tensor NodeCommunicator::allocate(int64_t numel, at::ScalarType dtype) {
  if (numel < 0) throw UsageError("comm", fmt::format("allocate({}) elements", numel), "give a number that is not negative");
  meet(encode(allocate_kind, dtype), numel);
  const size_t bytes = static_cast<size_t>(numel) * c10::elementSize(dtype);
  auto window = group_->allocate(bytes);
  std::erase_if(allocated_, [](const auto& area) { return area.window.expired(); });
  std::byte* begin = window->part(rank_);
  allocated_.push_back({begin, begin + bytes, static_cast<double>(++windows_made_), window});
  return at::from_blob(
      begin, {numel}, [window](void*) {}, at::TensorOptions(dtype));
}

std::unique_ptr<Communicator> NodeCommunicator::split(int color, int key) {
  meet(encode(split_kind), 0);
  return std::make_unique<NodeCommunicator>(group_->split(color, key));
}

}  // namespace levin::detail
