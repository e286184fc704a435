#include "inter_node_link.h"

#include <sched.h>

#include <tuple>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/comm/wait_timer.h"

namespace levin::detail {

InterNodeLink::InterNodeLink(MPI_Comm leaders, std::shared_ptr<NodeGroup> word, std::function<void()> idle)
    : leaders_(leaders), word_(std::move(word)), idle_(std::move(idle)) {
  MPI_Comm_set_errhandler(leaders_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(leaders_, &rank_);
  MPI_Comm_size(leaders_, &size_);
}

InterNodeLink::~InterNodeLink() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (abandoned_) static_cast<void>(values_.release());
  // After an abort a message of another leader may be in flight; it could match a receive on a later communicator with this context id.
  if (!finalized && !word_->aborted()) MPI_Comm_free(&leaders_);
}

void InterNodeLink::wait(std::span<MPI_Request> requests) {
  constexpr int few_tests = 100;
  const WaitTimer timer;
  for (int tests = 0;; tests++) {
    int done = 0;
    check_mpi(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    if (done) return;
    if (word_->aborted()) {
      abandoned_ = true;  // a collective cannot be cancelled
      const auto notice = word_->abort_notice();
      throw CommunicatorAborted(notice.by_rank, notice.reason);
    }
    if (tests < few_tests)
      sched_yield();
    else
      idle_();
  }
}

InterNodeLink::Flags InterNodeLink::all_max(const Flags& mine) {
  values_->flags_mine = mine;
  MPI_Request request;
  check_mpi(MPI_Iallreduce(values_->flags_mine.data(), values_->flags.data(), static_cast<int>(mine.size()), MPI_UINT64_T, MPI_MAX,
                           leaders_, &request),
            "MPI_Iallreduce");
  wait({&request, 1});
  return values_->flags;
}

std::vector<std::byte> InterNodeLink::all_gather(std::span<const std::byte> mine) {
  values_->mine.assign(mine.begin(), mine.end());
  values_->all.resize(mine.size() * static_cast<size_t>(size_));
  const int count = static_cast<int>(mine.size());
  MPI_Request request;
  check_mpi(MPI_Iallgather(values_->mine.data(), count, MPI_BYTE, values_->all.data(), count, MPI_BYTE, leaders_, &request),
            "MPI_Iallgather");
  wait({&request, 1});
  return values_->all;
}

void InterNodeLink::all_to_all(const std::byte* send, const Parts& send_parts, std::byte* receive, const Parts& receive_parts) {
  const auto& [sent, received] = std::tie(values_->sent = send_parts, values_->received = receive_parts);
  MPI_Request request;
  check_mpi(MPI_Ialltoallv(send, sent.bytes.data(), sent.begins.data(), MPI_BYTE, receive, received.bytes.data(), received.begins.data(),
                           MPI_BYTE, leaders_, &request),
            "MPI_Ialltoallv");
  wait({&request, 1});
}

void InterNodeLink::all_gather_parts(std::byte* data, const Parts& parts, bool direct) {
  if (!direct) {
    const auto& [bytes, begins] = values_->received = parts;
    MPI_Request request;
    check_mpi(MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, data, bytes.data(), begins.data(), MPI_BYTE, leaders_, &request),
              "MPI_Iallgatherv");
    return wait({&request, 1});
  }
  // MPI_Iallgatherv was measured 50 % slower between two hosts.
  const auto self = static_cast<size_t>(rank_);
  std::vector<MPI_Request> requests;
  for (size_t i = 0; i < parts.bytes.size(); i++)
    if (i != self && parts.bytes[i] > 0)
      check_mpi(MPI_Irecv(data + parts.begins[i], parts.bytes[i], MPI_BYTE, static_cast<int>(i), 0, leaders_,
                          &requests.emplace_back(MPI_REQUEST_NULL)),
                "MPI_Irecv");
  for (int step = 1; step < size_ && parts.bytes[self] > 0; step++)
    check_mpi(MPI_Isend(data + parts.begins[self], parts.bytes[self], MPI_BYTE, (rank_ + step) % size_, 0, leaders_,
                        &requests.emplace_back(MPI_REQUEST_NULL)),
              "MPI_Isend");
  wait(requests);
}

void InterNodeLink::broadcast(std::byte* data, int bytes, int root) {
  MPI_Request request;
  check_mpi(MPI_Ibcast(data, bytes, MPI_BYTE, root, leaders_, &request), "MPI_Ibcast");
  wait({&request, 1});
}

void InterNodeLink::all_reduce(const std::byte* input, std::byte* output, int count, at::ScalarType dtype, ReduceOp op) {
  MPI_Request request;
  check_mpi(MPI_Iallreduce(input, output, count, mpi_type(dtype), ops_.get(dtype, op), leaders_, &request), "MPI_Iallreduce");
  wait({&request, 1});
}

}  // namespace levin::detail
