#include "hierarchical_communicator.h"

#include <sched.h>
#include <time.h>
#include <xxhash.h>

#include <algorithm>
#include <exception>

#include "chunk_bytes.h"
#include "intra_node_communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"

namespace levin::detail {
namespace {

constexpr long nap_nanoseconds = 20'000;

}  // namespace

HierarchicalCommunicator::HierarchicalCommunicator(MPI_Comm ranks, std::unique_ptr<NodeGroup> node, bool threaded, int direct_hosts,
                                                   const HierarchicalCommunicator* origin)
    : node_(std::move(node)), threaded_(threaded), direct_hosts_(direct_hosts), bridge_(origin ? origin->bridge_ : nullptr) {
  calls_ = node_->flight().add_communicator();
  check_mpi(MPI_Comm_dup(ranks, &ranks_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(ranks_, &rank_);
  MPI_Comm_size(ranks_, &size_);
  find_hosts();
  MPI_Comm leaders = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(ranks_, local_rank_ == 0 ? 0 : MPI_UNDEFINED, rank_, &leaders), "MPI_Comm_split");
  if (leaders != MPI_COMM_NULL) {
    if (!origin) bridge_ = std::make_shared<AbortBridge>(leaders, node_, hosts_[host_], threaded_);
    link_ = std::make_unique<InterNodeLink>(leaders, node_, [this] { idle(); });
  }
  lane_ = on_all_ranks(ranks_, [this] { return node_->split(0, 0); });
  lane_->on_idle([this] { idle(); });
  if (!threaded_ && bridge_) node_->on_idle([this] { idle(); });
  make_area();
  mpi_transfers_ = std::make_unique<MpiTransfers>(ranks_, rank_);
  thread_ = std::make_unique<CommThread>(threaded_, bridge_ ? std::function<void()>([this] { bridge_->poll(); }) : nullptr);
}

HierarchicalCommunicator::~HierarchicalCommunicator() {
  // A rank that unwinds takes part in no further collectives: without an abort the ranks would wait for each other.
  if (std::uncaught_exceptions() > 0 && thread_->busy()) abort("it left while collectives were in progress");
  thread_.reset();
  if (bridge_ && node_->aborted()) bridge_->poll_now();  // notify the other hosts
  node_->on_idle(nullptr);
  int finalized = 0;
  MPI_Finalized(&finalized);
  // After an abort messages may be in flight; they could match receives on a later communicator that reuses this context id.
  const bool keep_ranks = finalized || node_->aborted() || !mpi_transfers_->complete();
  if (link_ && link_->abandoned()) {
    link_->keep(area_);
    link_->keep(received_);
    link_->keep(std::make_shared<Tensor>(in_flight_));
  } else if (!keep_ranks) {
    MPI_Comm_free(&ranks_);
  }
}

void HierarchicalCommunicator::find_hosts() {
  std::vector<int> local(static_cast<size_t>(node_->size()));
  node_->exchange_structs(rank_, std::span(local));
  const int leader = local.front();
  std::vector<int> leaders(static_cast<size_t>(size_));
  check_mpi(MPI_Allgather(&leader, 1, MPI_INT, leaders.data(), 1, MPI_INT, ranks_), "MPI_Allgather");
  for (int rank = 0; rank < size_; rank++) {
    const int first = leaders[static_cast<size_t>(rank)];
    auto host = std::find_if(hosts_.begin(), hosts_.end(), [&](const auto& ranks) { return ranks.front() == first; });
    if (host == hosts_.end()) host = hosts_.emplace(hosts_.end());
    if (rank == rank_) host_ = static_cast<size_t>(host - hosts_.begin()), local_rank_ = host->size();
    host->push_back(rank);
  }
  local_ranks_.assign(static_cast<size_t>(size_), -1);
  for (size_t i = 0; i < local_size(); i++) local_ranks_[static_cast<size_t>(hosts_[host_][i])] = static_cast<int>(i);
}

void HierarchicalCommunicator::make_area() {
  constexpr size_t inbox = size_t{32} << 10;
  received_ = std::make_shared<std::vector<std::byte>>();
  const size_t cards = NodeTransfers::card_bytes(static_cast<int>(local_size()));
  const auto direct = static_cast<size_t>(direct_hosts_);
  for (const size_t bytes : {chunk_bytes(hosts_.size(), direct), chunk_bytes(1), size_t{64} << 10}) {
    const size_t chunks = leads() ? 3 * bytes : bytes;
    area_ = lane_->allocate(chunks + inbox + cards, OnNoSpace::return_null);
    chunk_bytes_ = bytes;
    if (!all_good(area_ != nullptr)) continue;
    std::vector<std::byte*> inboxes, card_addresses;
    for (size_t i = 0; i < local_size(); i++) {
      inboxes.push_back(area_->part(static_cast<int>(i)) + (i == 0 ? 3 * bytes : bytes));
      card_addresses.push_back(inboxes.back() + inbox);
    }
    node_transfers_ = std::make_unique<NodeTransfers>(*lane_, book_, card_addresses, inboxes, inbox, rank_);
    return;
  }
  throw IoError("not enough shared memory for the buffers of collectives between hosts: 256 KiB per rank",
                "enlarge it (mount -o remount,size=..., docker run --shm-size=...), or use another window_directory", "comm");
}

void HierarchicalCommunicator::idle() {
  if (bridge_) bridge_->poll();
  if (!threaded_) {
    sched_yield();
    return;
  }
  const timespec nap{0, nap_nanoseconds};  // leave the core to the computation
  nanosleep(&nap, nullptr);
}

Call HierarchicalCommunicator::next(Call call) {
  call.header.sequence = ++sequence_;
  return call;
}

// Without the thread the other hosts hear of an abort in this rank's waits, and here: its next wait may be a long way off.
Work HierarchicalCommunicator::run(std::function<void()> operation) {
  const bool carries = !threaded_ && bridge_;
  if (carries) bridge_->use_on_this_thread();
  try {
    return thread_->run([this, operation = std::move(operation)] {
      const CallSlot::Scope call_scope(*calls_);
      operation();
    });
  } catch (const CommunicatorAborted&) {
    if (carries) bridge_->poll_now();
    throw;
  }
}

template <class T>
T HierarchicalCommunicator::from_leader(const T& mine) {
  std::vector<T> all(local_size());
  lane_->exchange_structs(mine, std::span(all));
  return all[0];
}

void HierarchicalCommunicator::match_call(const Call& call, const Tensor* tensor) {
  call.begin_in(*calls_);
  struct Header {
    CallHeader call;
    WindowBook::Location location;
  };
  std::vector<Header> all(local_size());
  lane_->exchange_structs(Header{call.header, tensor ? book_.locate(*tensor) : WindowBook::Location{}}, std::span(all));
  bool same = std::all_of(all.begin(), all.end(), [&](const Header& other) { return other.call == all[0].call; });
  if (leads()) {
    // All hashes are equal if their maximum equals their minimum, the complement of the maximum complement.
    const uint64_t hash = XXH3_64bits(&call.header, sizeof(call.header));
    const auto [largest, complement, mismatch] = link_->all_max({hash, ~hash, same ? uint64_t{0} : 1});
    same = mismatch == 0 && largest == ~complement;
  }
  if (!from_leader(static_cast<char>(same))) throw_disagreement(call);
  std::vector<WindowBook::Location> locations;
  for (const auto& header : all) locations.push_back(header.location);
  addresses_ = tensor ? book_.addresses(locations, static_cast<int>(local_rank_), *tensor) : std::vector<std::byte*>{};
}

void HierarchicalCommunicator::throw_disagreement(const Call& call) {
  struct Verdict {
    Call first, mismatch;
    int rank = -1;
  };
  std::vector<Call> local(local_size());
  lane_->exchange_structs(call, std::span(local));
  Verdict verdict{local[0], {}, -1};
  for (size_t i = 1; i < local.size() && verdict.rank < 0; i++)
    if (local[i].header != local[0].header) verdict.mismatch = local[i], verdict.rank = hosts_[host_][i];
  if (leads()) {
    std::vector<Verdict> hosts(hosts_.size());
    std::ranges::copy(link_->all_gather(std::as_bytes(std::span(&verdict, 1))), std::as_writable_bytes(std::span(hosts)).begin());
    // Find the lowest rank whose call differs from rank 0's.
    verdict = hosts[0];
    for (size_t i = 1; i < hosts.size() && verdict.rank < 0; i++) {
      verdict.mismatch = hosts[i].first.header != verdict.first.header ? hosts[i].first : hosts[i].mismatch;
      verdict.rank = hosts[i].first.header != verdict.first.header ? hosts_[i].front() : hosts[i].rank;
    }
  }
  const auto first = from_leader(verdict.first), mismatch = from_leader(verdict.mismatch);
  throw disagreement(0, first, from_leader(verdict.rank), mismatch);
}

bool HierarchicalCommunicator::all_good(bool good) {
  std::vector<char> all(local_size());
  lane_->exchange_structs(static_cast<char>(good), std::span(all));
  bool result = std::all_of(all.begin(), all.end(), [](char flag) { return flag != 0; });
  if (leads()) result = link_->all_max({result ? uint64_t{0} : 1, 0, 0})[0] == 0;
  return from_leader(static_cast<char>(result)) != 0;
}

void HierarchicalCommunicator::barrier(std::string_view label) {
  run([this, call = next(Call(Kind::barrier, label))] { match_call(call); }).wait();
}

Tensor HierarchicalCommunicator::allocate(int64_t numel, at::ScalarType dtype) {
  if (numel < 0) throw UsageError("comm", fmt::format("allocate({}) elements", numel), "pass a non-negative number");
  Tensor tensor;
  run([&, call = next(Call(Kind::allocate, {}, dtype, numel))] {
    match_call(call);
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
    throw IoError("another host has not enough shared memory for a window", "enlarge its /dev/shm", "comm");
  }).wait();
  return tensor;
}

std::unique_ptr<Communicator> HierarchicalCommunicator::split(int color, int key) {
  std::unique_ptr<Communicator> result;
  run([&, call = next(Call(Kind::split))] {
    match_call(call);
    auto node = on_all_ranks(ranks_, [&] { return lane_->split(color, key); });
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(ranks_, color, key, &part), "MPI_Comm_split");
    int size = 0;
    MPI_Comm_size(part, &size);
    if (size == node->size()) {
      if (!threaded_ && bridge_) node->on_idle([bridge = bridge_] { bridge->poll(), sched_yield(); });
      result = std::make_unique<IntraNodeCommunicator>(std::move(node));
    } else {
      result = std::make_unique<HierarchicalCommunicator>(part, std::move(node), threaded_, direct_hosts_, this);
    }
    MPI_Comm_free(&part);
  }).wait();
  return result;
}

// From a thread that may not call MPI, the one that runs the operations carries the word.
void HierarchicalCommunicator::abort(const std::string& reason) noexcept {
  node_->abort(reason);
  if (!threaded_ && bridge_) bridge_->poll_now();
}

}  // namespace levin::detail
