#include "abort_bridge.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "levin/comm/mpi_runtime.h"

namespace levin::detail {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;
constexpr int tag = 1;

bool finished() {
  int value = 0;
  MPI_Finalized(&value);
  return value != 0;
}

}  // namespace

AbortBridge::AbortBridge(MPI_Comm leaders, std::shared_ptr<NodeGroup> node, std::vector<int> local_ranks, bool any_thread)
    : node_(std::move(node)), local_ranks_(std::move(local_ranks)), any_thread_(any_thread) {
  check_mpi(MPI_Comm_dup(leaders, &leaders_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(leaders_, MPI_ERRORS_RETURN);
}

AbortBridge::~AbortBridge() {
  // The duplicate is never freed: a message in flight could match a receive on a later communicator that reuses its context id.
  if (finished() || !sent_) return;
  int done = 0;
  MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE);
  if (!done) static_cast<void>(sent_.release());  // MPI may still read it
}

void AbortBridge::poll() noexcept {
  const auto now = Clock::now();
  if (const std::unique_lock lock(mutex_, std::try_to_lock); !lock || now - polled_ < 500us) return;
  poll_now();
}

void AbortBridge::poll_now() noexcept {
  if (!may_call_mpi()) return;
  const std::lock_guard lock(mutex_);
  polled_ = Clock::now();
  if (finished()) return;
  try {
    receive();
    if (!sent_ && node_->aborted()) send();
  } catch (const std::exception&) {  // MPI has failed: the operations in progress report it
  }
}

void AbortBridge::receive() {
  for (int pending = 1; pending;) {
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, leaders_, &pending, MPI_STATUS_IGNORE), "MPI_Iprobe");
    if (!pending) return;
    Message message{};
    check_mpi(MPI_Recv(&message, sizeof(message), MPI_BYTE, MPI_ANY_SOURCE, tag, leaders_, MPI_STATUS_IGNORE), "MPI_Recv");
    node_->abort_for({message.by_rank, std::string(message.reason, strnlen(message.reason, sizeof(message.reason)))});
  }
}

void AbortBridge::send() {
  const auto notice = node_->abort_notice();
  if (std::find(local_ranks_.begin(), local_ranks_.end(), notice.by_rank) == local_ranks_.end())
    return;  // the leader of that rank sends it
  sent_ = std::make_unique<Message>();
  sent_->by_rank = notice.by_rank;
  std::memcpy(sent_->reason, notice.reason.data(), std::min(notice.reason.size(), sizeof(sent_->reason) - 1));
  int size = 0, rank = 0, done = 0;
  MPI_Comm_size(leaders_, &size);
  MPI_Comm_rank(leaders_, &rank);
  for (int i = 0; i < size; i++)
    if (i != rank)
      check_mpi(MPI_Isend(sent_.get(), sizeof(Message), MPI_BYTE, i, tag, leaders_, &requests_.emplace_back(MPI_REQUEST_NULL)),
                "MPI_Isend");
  // The first message of a pair sets up a connection, which needs MPI calls on both sides.
  for (const auto end = Clock::now() + 1s; !done && Clock::now() < end; sched_yield())
    check_mpi(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
}

}  // namespace levin::detail
