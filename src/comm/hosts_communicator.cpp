#include "hosts_communicator.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <tuple>

#include "levin/comm/mpi_runtime.h"
#include "make_on_all.h"
#include "node_communicator.h"
#include "reduce.h"

namespace levin::detail {
namespace {

constexpr long nap_nanoseconds = 20'000;
constexpr size_t most_bytes = std::numeric_limits<int>::max();  // that MPI can count
constexpr at::ScalarType none = at::ScalarType::Undefined;

ReduceOp without_mean(ReduceOp op) { return op == ReduceOp::mean ? ReduceOp::sum : op; }

}  // namespace

HostsCommunicator::HostsCommunicator(MPI_Comm ranks, std::unique_ptr<NodeGroup> node, bool threaded, const HostsCommunicator* origin)
    : node_(std::move(node)), threaded_(threaded), bridge_(origin ? origin->bridge_ : nullptr) {
  check_mpi(MPI_Comm_dup(ranks, &ranks_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(ranks_, &rank_);
  MPI_Comm_size(ranks_, &size_);
  find_hosts();
  MPI_Comm leaders = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(ranks_, local_rank_ == 0 ? 0 : MPI_UNDEFINED, rank_, &leaders), "MPI_Comm_split");
  if (leaders != MPI_COMM_NULL) {
    if (!origin) bridge_ = std::make_shared<AbortBridge>(leaders, node_, hosts_[host_]);
    link_ = std::make_unique<HostLink>(leaders, node_, [this] { idle(); });
  }
  lane_ = make_on_all(ranks_, "", [this] { return node_->split(0, 0); });
  lane_->on_idle([this] { idle(); });
  if (!threaded_ && bridge_) node_->on_idle([this] { idle(); });
  make_area();
  thread_ = std::make_unique<CommThread>(threaded_, bridge_ ? std::function<void()>([this] { bridge_->poll(); }) : nullptr);
}

HostsCommunicator::~HostsCommunicator() {
  // A rank that unwinds will not come to the others: they must not wait for it, nor it for them.
  if (std::uncaught_exceptions() > 0 && thread_->busy()) abort("it left while collectives were under way");
  thread_.reset();
  if (bridge_ && node_->aborted()) bridge_->poll_now();  // the other hosts must hear of it
  node_->on_idle(nullptr);
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (link_ && link_->abandoned())
    new auto(std::tuple(area_, received_, in_flight_));  // MPI may still write there
  else if (!finalized)
    MPI_Comm_free(&ranks_);
}

void HostsCommunicator::find_hosts() {
  const double mine = rank_;
  std::vector<double> local(static_cast<size_t>(node_->size()));
  node_->exchange({&mine, 1}, local);
  const int leader = static_cast<int>(local.front());
  std::vector<int> leaders(static_cast<size_t>(size_));
  check_mpi(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, ranks_), "MPI_Allgather");
  for (int rank = 0; rank < size_; rank++) {
    const int first = leaders[static_cast<size_t>(rank)];
    auto host = std::find_if(hosts_.begin(), hosts_.end(), [&](const auto& ranks) { return ranks.front() == first; });
    if (host == hosts_.end()) host = hosts_.emplace(hosts_.end());
    if (rank == rank_) host_ = static_cast<size_t>(host - hosts_.begin()), local_rank_ = host->size();
    host->push_back(rank);
  }
}

void HostsCommunicator::make_area() {
  received_ = std::make_shared<std::vector<std::byte>>();
  for (const size_t bytes : {size_t{4} << 20, size_t{64} << 10}) {
    area_ = lane_->allocate(leads() ? 3 * bytes : bytes, WhenShort::return_null);
    chunk_bytes_ = bytes;
    if (all_good(area_ != nullptr)) return;
  }
  throw IoError("shared memory has no room for the buffers of collectives between hosts: 256 KiB on each",
                "enlarge it (mount -o remount,size=..., docker run --shm-size=...), or use another window_directory", "comm");
}

void HostsCommunicator::idle() {
  if (bridge_) bridge_->poll();
  if (!threaded_) {
    sched_yield();
    return;
  }
  const timespec nap{0, nap_nanoseconds};  // leaves the core to the computation
  nanosleep(&nap, nullptr);
}

Call HostsCommunicator::next(Kind kind, at::ScalarType dtype, int64_t numel, ReduceOp op, int root) {
  return {encode(kind, dtype, op, root), static_cast<double>(numel), static_cast<double>(++sequence_)};
}

void HostsCommunicator::meet(const Call& call, const Tensor* tensor) {
  const auto place = tensor ? book_.locate(*tensor) : WindowBook::Place{};
  const double mine[] = {call.call, call.numel, call.sequence, place.window, place.offset};
  std::vector<double> all(5 * local_size());
  lane_->exchange(mine, all);
  std::vector<WindowBook::Place> places;
  Call odd = call;
  int odd_rank = -1;
  for (size_t i = 0; i < local_size(); i++) {
    const double* told = &all[5 * i];
    places.push_back({told[3], told[4]});
    if (const Call other{told[0], told[1], told[2]}; odd_rank < 0 && other != Call{all[0], all[1], all[2]})
      odd = other, odd_rank = hosts_[host_][i];
  }

  std::array<double, 7> verdict{};  // rank or -1, its call, rank 0's call
  if (leads()) {
    const auto told =
        link_->all_gather({call.call, call.numel, call.sequence, static_cast<double>(odd_rank), odd.call, odd.numel, odd.sequence});
    verdict = {-1, 0, 0, 0, told[0], told[1], told[2]};
    for (size_t i = hosts_.size(); i-- > 0;) {
      const double* one = &told[7 * i];
      const Call first{one[0], one[1], one[2]};
      if (one[3] >= 0) verdict = {one[3], one[4], one[5], one[6], told[0], told[1], told[2]};
      if (first != Call{told[0], told[1], told[2]})
        verdict = {static_cast<double>(hosts_[i].front()), one[0], one[1], one[2], told[0], told[1], told[2]};
    }
  }
  std::vector<double> verdicts(7 * local_size());
  lane_->exchange(verdict, verdicts);
  if (verdicts[0] >= 0)
    throw disagreement({verdicts[4], verdicts[5], verdicts[6]}, static_cast<int>(verdicts[0]), {verdicts[1], verdicts[2], verdicts[3]});
  addresses_ = tensor ? book_.addresses(places, static_cast<int>(local_rank_), *tensor) : std::vector<std::byte*>{};
}

bool HostsCommunicator::all_good(bool good) {
  double mine = good ? 0 : 1;
  std::vector<double> all(local_size());
  lane_->exchange({&mine, 1}, all);
  mine = *std::max_element(all.begin(), all.end());
  if (leads()) {
    const auto hosts = link_->all_gather({mine});
    mine = *std::max_element(hosts.begin(), hosts.end());
  }
  lane_->exchange({&mine, 1}, all);
  return all[0] == 0;
}

void HostsCommunicator::sum_in_node(const Tensor& input, std::span<const Piece> pieces, ReduceOp op) {
  const auto dtype = input.scalar_type();
  const size_t element = input.element_size(), wide = c10::elementSize(partial_dtype(dtype));
  const bool in_place = !addresses_.empty();
  if (!in_place)
    for (const auto& [from, to, count] : pieces)
      move_bytes(stage(local_rank_) + to * element, data_of(input) + from * element, count * element);
  if (!in_place) lane_->barrier();
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

bool HostsCommunicator::direct(const Tensor& tensor) {
  if (local_size() > 1 || addresses_.empty() || tensor.nbytes() > most_bytes || partial_dtype(tensor.scalar_type()) != tensor.scalar_type())
    return false;
  in_flight_ = tensor;
  return true;
}

void HostsCommunicator::sum_between(const std::byte* partials, const std::vector<Cut>& cuts, std::byte* output, at::ScalarType dtype,
                                    ReduceOp op) {
  const auto wide_dtype = partial_dtype(dtype);
  const size_t wide = c10::elementSize(wide_dtype), count = cuts[host_].count;
  HostLink::Parts sent, received;
  for (size_t i = 0; i < hosts_.size(); i++) {
    sent.add(cuts[i].begin * wide, i == host_ ? 0 : cuts[i].count * wide);
    received.add(i * count * wide, i == host_ ? 0 : count * wide);
  }
  if (received_->size() < hosts_.size() * count * wide) received_->resize(hosts_.size() * count * wide);
  link_->all_to_all(partials, sent, received_->data(), received);
  std::vector<const std::byte*> sources;
  for (size_t i = 0; i < hosts_.size(); i++)
    sources.push_back(i == host_ ? partials + cuts[i].begin * wide : received_->data() + i * count * wide);
  const bool ready = wide_dtype == dtype && op != ReduceOp::mean;
  std::byte* sum = ready ? output : received_->data() + host_ * count * wide;
  reduce({&sum, 1}, sources, count, wide_dtype, without_mean(op));
  if (!ready) finish(output, sum, count, dtype, op == ReduceOp::mean ? size_ : 1);
}

Work HostsCommunicator::all_reduce(const Tensor& tensor, ReduceOp op) {
  check_tensor(tensor);
  const auto dtype = tensor.scalar_type();
  check_reducible(dtype, op);
  return thread_->run([=, this, call = next(Kind::all_reduce, dtype, tensor.numel(), op)] {
    meet(call, &tensor);
    const size_t count = static_cast<size_t>(tensor.numel()), element = tensor.element_size();
    const size_t chunk = chunk_bytes_ / c10::elementSize(partial_dtype(dtype));
    const bool as_it_is = direct(tensor);
    for (size_t begin = 0; begin < count; begin += chunk) {
      const size_t n = std::min(chunk, count - begin);
      const Piece piece{begin, 0, n};
      std::byte *own = data_of(tensor) + begin * element, *output = as_it_is ? own : result();
      if (!as_it_is) sum_in_node(tensor, {&piece, 1}, op);
      if (leads()) {
        std::vector<Cut> cuts;
        HostLink::Parts parts;
        for (int i = 0; i < link_->size(); i++) {
          const size_t from = slice_begin(n, element, i, link_->size()), to = slice_begin(n, element, i + 1, link_->size());
          cuts.push_back({from, to - from});
          parts.add(from * element, (to - from) * element);
        }
        sum_between(as_it_is ? own : partial(), cuts, output + cuts[host_].begin * element, dtype, op);
        link_->all_gather_parts(output, parts);
      }
      lane_->barrier();
      move_bytes(own, output, n * element);
    }
    lane_->barrier();  // nobody reads the result any more
    in_flight_ = Tensor();
  });
}

Work HostsCommunicator::reduce_scatter(const Tensor& output, const Tensor& input, ReduceOp op) {
  check_pair(input, output, size_);
  const auto dtype = input.scalar_type();
  check_reducible(dtype, op);
  return thread_->run([=, this, call = next(Kind::reduce_scatter, dtype, output.numel(), op)] {
    meet(call, &input);
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
      std::vector<Piece> pieces;  // a host's ranks one after the other
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

void HostsCommunicator::gather(const Tensor& output, const Tensor& input, bool shared) {
  const size_t bytes = input.nbytes(), chunk = std::max<size_t>(1, chunk_bytes_ / static_cast<size_t>(size_));
  const bool as_it_is = shared && size_ == static_cast<int>(hosts_.size()) && output.nbytes() <= most_bytes;
  if (as_it_is) in_flight_ = output;
  for (size_t begin = 0; begin < bytes; begin += chunk) {
    const size_t n = std::min(chunk, bytes - begin);
    HostLink::Parts parts;
    size_t before = 0;  // ranks of earlier hosts
    for (const auto& ranks : hosts_) {
      if (as_it_is)
        parts.add(before * bytes + begin, n);
      else
        parts.add(before * n, ranks.size() * n);
      before += ranks.size();
    }
    if (as_it_is) {
      link_->all_gather_parts(data_of(output), parts);
      continue;
    }
    move_bytes(result() + static_cast<size_t>(parts.begins[host_]) + local_rank_ * n, data_of(input) + begin, n);
    lane_->barrier();
    if (leads()) link_->all_gather_parts(result(), parts);
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

Work HostsCommunicator::all_gather(const Tensor& output, const Tensor& input) {
  check_pair(output, input, size_);
  return thread_->run([=, this, call = next(Kind::all_gather, input.scalar_type(), input.numel())] {
    meet(call);
    gather(output, input, false);
  });
}

Work HostsCommunicator::gather_shared(const Tensor& whole) {
  check_tensor(whole);
  check_divisible(whole, size_);
  return thread_->run([=, this, call = next(Kind::gather_shared, whole.scalar_type(), whole.numel())] {
    meet(call);
    const int64_t numel = whole.numel() / size_;
    gather(whole, whole.view({-1}).narrow(0, rank_ * numel, numel), true);
  });
}

Work HostsCommunicator::broadcast(const Tensor& tensor, int root) {
  check_tensor(tensor);
  check_root(root, size_);
  return thread_->run([=, this, call = next(Kind::broadcast, tensor.scalar_type(), tensor.numel(), ReduceOp::sum, root)] {
    meet(call);
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

void HostsCommunicator::barrier() {
  thread_->run([this, call = next(Kind::barrier)] { meet(call); }).wait();
}

Tensor HostsCommunicator::allocate(int64_t numel, at::ScalarType dtype) {
  if (numel < 0) throw UsageError("comm", fmt::format("allocate({}) elements", numel), "give a number that is not negative");
  Tensor tensor;
  thread_
      ->run([&, call = next(Kind::allocate, dtype, numel)] {
        meet(call);
        std::exception_ptr failure;
        std::shared_ptr<SharedWindow> window;
        try {
          window = lane_->allocate(static_cast<size_t>(numel) * c10::elementSize(dtype));
        } catch (const IoError&) {  // on all ranks of the node
          failure = std::current_exception();
        }
        if (all_good(!failure)) {
          tensor = book_.add(window, static_cast<int>(local_rank_), numel, dtype);
          return;
        }
        if (failure) std::rethrow_exception(failure);
        throw IoError("another host has too little room for a shared window", "enlarge its /dev/shm", "comm");
      })
      .wait();
  return tensor;
}

std::unique_ptr<Communicator> HostsCommunicator::split(int color, int key) {
  std::unique_ptr<Communicator> made;
  thread_
      ->run([&, call = next(Kind::split)] {
        meet(call);
        auto node = make_on_all(ranks_, "", [&] { return lane_->split(color, key); });
        MPI_Comm part = MPI_COMM_NULL;
        check_mpi(MPI_Comm_split(ranks_, color, key, &part), "MPI_Comm_split");
        int size = 0;
        MPI_Comm_size(part, &size);
        if (size == node->size()) {
          if (!threaded_ && bridge_) node->on_idle([bridge = bridge_] { bridge->poll(), sched_yield(); });
          made = std::make_unique<NodeCommunicator>(std::move(node));
        } else {
          made = std::make_unique<HostsCommunicator>(part, std::move(node), threaded_, this);
        }
        MPI_Comm_free(&part);
      })
      .wait();
  return made;
}

void HostsCommunicator::abort(const std::string& reason) noexcept {
  node_->abort(reason);
  if (!threaded_ && bridge_) bridge_->poll_now();
}

}  // namespace levin::detail
