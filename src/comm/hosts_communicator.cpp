#include "hosts_communicator.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <exception>

#include "levin/comm/mpi_runtime.h"
#include "make_on_all.h"
#include "node_communicator.h"

namespace levin::detail {
namespace {

constexpr long nap_nanoseconds = 20'000;

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
  if (link_ && link_->abandoned()) {
    link_->keep(area_);
    link_->keep(received_);
    link_->keep(std::make_shared<Tensor>(in_flight_));
  } else if (!finalized) {
    MPI_Comm_free(&ranks_);
  }
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
  return {with_subject(encode(kind, dtype, op, root), subject_), static_cast<double>(numel), static_cast<double>(++sequence_)};
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
    throw disagreement({verdicts[4], verdicts[5], verdicts[6]}, static_cast<int>(verdicts[0]), {verdicts[1], verdicts[2], verdicts[3]},
                       subjects_);
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
