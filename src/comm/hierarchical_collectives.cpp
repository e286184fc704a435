// The collectives of HierarchicalCommunicator.
#include <algorithm>
#include <limits>
#include <utility>

#include "hierarchical_communicator.h"
#include "reduce.h"

namespace levin::detail {
namespace {

constexpr size_t most_bytes = std::numeric_limits<int>::max();  // the limit of MPI's int counts

ReduceOp without_mean(ReduceOp op) { return op == ReduceOp::mean ? ReduceOp::sum : op; }

}  // namespace

void HierarchicalCommunicator::sum_in_node(const Tensor& input, std::span<const Piece> pieces, ReduceOp op) {
  const auto dtype = input.scalar_type();
  const size_t element = input.element_size(), wide = c10::elementSize(partial_dtype(dtype));
  const bool in_place = !addresses_.empty();
  if (!in_place) {
    for (const auto& [from, to, count] : pieces)
      move_bytes(stage(local_rank_) + to * element, data_of(input) + from * element, count * element);
    lane_->barrier();
  }
  std::vector<const std::byte*> sources(local_size());
  for (const auto& [from, to, count] : pieces) {
    const int rank = static_cast<int>(local_rank_), ranks = static_cast<int>(local_size());
    const size_t begin = slice_begin(count, wide, rank, ranks), end = slice_begin(count, wide, rank + 1, ranks);
    for (size_t i = 0; i < sources.size(); i++)
      sources[i] = in_place ? addresses_[i] + (from + begin) * element : stage(i) + (to + begin) * element;
    reduce_partial(partial() + (to + begin) * wide, sources, end - begin, dtype, op);
  }
  lane_->barrier();
}

bool HierarchicalCommunicator::direct(const Tensor& tensor) {
  if (local_size() > 1 || addresses_.empty() || tensor.nbytes() > most_bytes || partial_dtype(tensor.scalar_type()) != tensor.scalar_type())
    return false;
  in_flight_ = tensor;
  return true;
}

// Each host receives its cut of the partial sums of all other hosts. MPI_Ireduce_scatter is not used: Open MPI implements it as a reduction
// to one host.
void HierarchicalCommunicator::sum_between(const std::byte* partials, const std::vector<Cut>& cuts, std::byte* output, at::ScalarType dtype,
                                           ReduceOp op) {
  const auto wide_dtype = partial_dtype(dtype);
  const size_t wide = c10::elementSize(wide_dtype), count = cuts[host_].count;
  const bool ready = wide_dtype == dtype && op != ReduceOp::mean;
  InterNodeLink::Parts sent, received;
  for (size_t i = 0; i < hosts_.size(); i++) {
    sent.add(cuts[i].begin * wide, i == host_ ? 0 : cuts[i].count * wide);
    received.add(i * count * wide, i == host_ ? 0 : count * wide);
  }
  std::byte* buffer = receive_buffer(hosts_.size() * count * wide);
  link_->all_to_all(partials, sent, buffer, received);
  std::vector<const std::byte*> sources;
  for (size_t i = 0; i < hosts_.size(); i++) sources.push_back(i == host_ ? partials + cuts[i].begin * wide : buffer + i * count * wide);
  std::byte* sum = ready ? output : buffer + host_ * count * wide;
  reduce({&sum, 1}, sources, count, wide_dtype, without_mean(op));
  if (!ready) finish(output, sum, count, dtype, op == ReduceOp::mean ? size_ : 1);
}

void HierarchicalCommunicator::all_reduce_between(const std::byte* partials, size_t count, std::byte* output, at::ScalarType dtype,
                                                  ReduceOp op) {
  const auto wide_dtype = partial_dtype(dtype);
  const bool ready = wide_dtype == dtype && op != ReduceOp::mean && output != partials;
  std::byte* sum = ready ? output : receive_buffer(count * c10::elementSize(wide_dtype));
  link_->all_reduce(partials, sum, static_cast<int>(count), wide_dtype, without_mean(op));
  if (!ready) finish(output, sum, count, dtype, op == ReduceOp::mean ? size_ : 1);
}

std::byte* HierarchicalCommunicator::receive_buffer(size_t bytes) {
  if (received_->size() < bytes) received_->resize(bytes);
  return received_->data();
}

Work HierarchicalCommunicator::all_reduce(const Tensor& tensor, ReduceOp op, std::string_view label) {
  check_tensor(tensor);
  const auto dtype = tensor.scalar_type();
  check_reducible(dtype, op);
  return run([=, this, call = next(Call(Kind::all_reduce, label, dtype, tensor.numel(), op))] {
    match_call(call, &tensor);
    const size_t count = static_cast<size_t>(tensor.numel()), element = tensor.element_size();
    const size_t chunk = chunk_bytes_ / c10::elementSize(partial_dtype(dtype));
    const bool as_it_is = direct(tensor);
    for (size_t begin = 0; begin < count; begin += chunk) {
      const size_t n = std::min(chunk, count - begin);
      const Piece piece{begin, 0, n};
      std::byte *own = data_of(tensor) + begin * element, *output = as_it_is ? own : result();
      if (!as_it_is) sum_in_node(tensor, {&piece, 1}, op);
      if (leads() && !direct_sums()) {
        all_reduce_between(as_it_is ? own : partial(), n, output, dtype, op);
      } else if (leads()) {
        std::vector<Cut> cuts;
        InterNodeLink::Parts parts;
        for (int i = 0; i < link_->size(); i++) {
          const size_t from = slice_begin(n, element, i, link_->size()), to = slice_begin(n, element, i + 1, link_->size());
          cuts.push_back({from, to - from});
          parts.add(from * element, (to - from) * element);
        }
        sum_between(as_it_is ? own : partial(), cuts, output + cuts[host_].begin * element, dtype, op);
        link_->all_gather_parts(output, parts, /*direct=*/true);
      }
      lane_->barrier();
      move_bytes(own, output, n * element);
    }
    lane_->barrier();  // all ranks have read the result
    in_flight_ = Tensor();
  });
}

Work HierarchicalCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op, std::string_view label) {
  check_pair(input, output, size_);
  const auto dtype = input.scalar_type();
  check_reducible(dtype, op);
  return run([=, this, call = next(Call(Kind::reduce_scatter, label, dtype, output.numel(), op))] {
    match_call(call, &input);
    const size_t count = static_cast<size_t>(output.numel()), element = output.element_size();
    const size_t chunk = std::max<size_t>(1, chunk_bytes_ / c10::elementSize(partial_dtype(dtype)) / static_cast<size_t>(size_));
    const bool as_it_is = direct(input) && size_ == static_cast<int>(hosts_.size());
    for (size_t begin = 0; begin < count; begin += chunk) {
      const size_t n = std::min(chunk, count - begin);
      std::byte* own = data_of(output) + begin * element;
      if (as_it_is) {
        std::vector<Cut> cuts;
        for (size_t i = 0; i < hosts_.size(); i++) cuts.push_back({i * count + begin, n});
        sum_between(data_of(input), cuts, own, dtype, op);
        continue;
      }
      std::vector<Piece> pieces;  // ordered by host
      std::vector<Cut> cuts;
      for (const auto& ranks : hosts_) {
        cuts.push_back({pieces.size() * n, ranks.size() * n});
        for (const int rank : ranks) pieces.push_back({static_cast<size_t>(rank) * count + begin, pieces.size() * n, n});
      }
      sum_in_node(input, pieces, op);
      if (leads()) sum_between(partial(), cuts, result(), dtype, op);
      lane_->barrier();
      move_bytes(own, result() + local_rank_ * n * element, n * element);
    }
    lane_->barrier();
    in_flight_ = Tensor();
  });
}

void HierarchicalCommunicator::gather(const Tensor& output, const Tensor& input, bool shared) {
  const size_t bytes = input.nbytes(), chunk = std::max<size_t>(1, chunk_bytes_ / static_cast<size_t>(size_));
  const bool as_it_is = shared && size_ == static_cast<int>(hosts_.size()) && output.nbytes() <= most_bytes;
  if (as_it_is) in_flight_ = output;
  for (size_t begin = 0; begin < bytes; begin += chunk) {
    const size_t n = std::min(chunk, bytes - begin);
    InterNodeLink::Parts parts;
    size_t before = 0;  // number of ranks on earlier hosts
    for (const auto& ranks : hosts_) {
      if (as_it_is)
        parts.add(before * bytes + begin, n);
      else
        parts.add(before * n, ranks.size() * n);
      before += ranks.size();
    }
    if (as_it_is) {
      link_->all_gather_parts(data_of(output), parts, direct_sums());
      continue;
    }
    move_bytes(result() + static_cast<size_t>(parts.begins[host_]) + local_rank_ * n, data_of(input) + begin, n);
    lane_->barrier();
    if (leads()) link_->all_gather_parts(result(), parts, direct_sums());
    lane_->barrier();
    const std::byte* part = result();
    size_t turn = 0;
    for (size_t host = 0; host < hosts_.size(); host++)
      for (const int rank : hosts_[host]) {
        const bool mine = !shared || (host != host_ && turn++ % local_size() == local_rank_);
        if (mine) move_bytes(data_of(output) + static_cast<size_t>(rank) * bytes + begin, part, n);
        part += n;
      }
    lane_->barrier();
  }
  in_flight_ = Tensor();
}

Work HierarchicalCommunicator::all_gather(const Tensor& output, const Tensor& input, std::string_view label) {
  check_pair(output, input, size_);
  return run([=, this, call = next(Call(Kind::all_gather, label, input.scalar_type(), input.numel()))] {
    match_call(call);
    gather(output, input, false);
  });
}

Work HierarchicalCommunicator::gather_shared(const Tensor& whole, std::string_view label) {
  check_tensor(whole);
  check_divisible(whole, size_);
  return run([=, this, call = next(Call(Kind::gather_shared, label, whole.scalar_type(), whole.numel()))] {
    match_call(call);
    const int64_t numel = whole.numel() / size_;
    gather(whole, whole.view({-1}).narrow(0, rank_ * numel, numel), true);
  });
}

Work HierarchicalCommunicator::broadcast(const Tensor& tensor, int root, std::string_view label) {
  check_tensor(tensor);
  check_root(root, size_);
  return run([=, this, call = next(Call(Kind::broadcast, label, tensor.scalar_type(), tensor.numel(), ReduceOp::sum, root))] {
    match_call(call);
    const auto from = std::find_if(hosts_.begin(), hosts_.end(),
                                   [&](const auto& ranks) { return std::find(ranks.begin(), ranks.end(), root) != ranks.end(); });
    const size_t bytes = tensor.nbytes();
    for (size_t begin = 0; begin < bytes; begin += chunk_bytes_) {
      const size_t n = std::min(chunk_bytes_, bytes - begin);
      if (rank_ == root) move_bytes(result(), data_of(tensor) + begin, n);
      lane_->barrier();
      if (leads()) link_->broadcast(result(), static_cast<int>(n), static_cast<int>(from - hosts_.begin()));
      lane_->barrier();
      if (rank_ != root) move_bytes(data_of(tensor) + begin, result(), n);
      lane_->barrier();
    }
  });
}

}  // namespace levin::detail
