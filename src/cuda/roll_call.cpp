#include "roll_call.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "levin/comm/mpi_runtime.h"

namespace levin {
namespace {

constexpr int question = 1, reply = 2;

bool mpi_is_over() {
  int over = 0;
  MPI_Finalized(&over);
  return over != 0;
}

}  // namespace

struct RollCall::Message {
  Position position;
  MPI_Request request = MPI_REQUEST_NULL;
};

RollCall::RollCall(MPI_Comm ranks) : ranks_(ranks) {
  if (ranks_ == MPI_COMM_NULL) return;
  MPI_Comm_set_errhandler(ranks_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(ranks_, &rank_);
  MPI_Comm_size(ranks_, &size_);
}

RollCall::~RollCall() {
  // Messages may be on their way, and would be taken for those of the next communicator with this one's number.
  for (auto& message : sent_) static_cast<void>(message.release());
  if (sent_.empty() && ranks_ != MPI_COMM_NULL && !mpi_is_over()) MPI_Comm_free(&ranks_);
}

void RollCall::send(int rank, int tag, const Position& mine) {
  auto& message = *sent_.emplace_back(std::make_unique<Message>(Message{mine}));
  check_mpi(MPI_Isend(&message.position, sizeof(Position), MPI_BYTE, rank, tag, ranks_, &message.request), "MPI_Isend");
}

std::optional<std::pair<int, RollCall::Position>> RollCall::receive(int tag) {
  int pending = 0;
  MPI_Status status;
  check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, tag, ranks_, &pending, &status), "MPI_Iprobe");
  if (!pending) return std::nullopt;
  Position position;
  check_mpi(MPI_Recv(&position, sizeof(position), MPI_BYTE, status.MPI_SOURCE, tag, ranks_, &status), "MPI_Recv");
  return std::pair(status.MPI_SOURCE, position);
}

void RollCall::answer(const Position& mine) noexcept {
  if (ranks_ == MPI_COMM_NULL || size_ == 1 || mpi_is_over()) return;
  try {
    while (const auto asked = receive(question)) send(asked->first, reply, mine);
  } catch (const std::exception&) {  // MPI has failed, which the operations under way say, too
  }
}

std::vector<std::optional<RollCall::Position>> RollCall::ask(const Position& mine, std::chrono::milliseconds patience,
                                                             const std::function<bool()>& stop) {
  std::vector<std::optional<Position>> positions(static_cast<size_t>(size_));
  positions[static_cast<size_t>(rank_)] = mine;
  if (ranks_ == MPI_COMM_NULL || mpi_is_over()) return positions;
  for (int rank = 0; rank < size_; rank++)
    if (rank != rank_) send(rank, question, mine);
  const auto end = std::chrono::steady_clock::now() + patience;
  const auto all_known = [&] {
    return std::all_of(positions.begin(), positions.end(), [](const auto& known) { return known.has_value(); });
  };
  while (!all_known() && !stop() && std::chrono::steady_clock::now() < end) {
    answer(mine);
    while (const auto answered = receive(reply)) positions[static_cast<size_t>(answered->first)] = answered->second;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  answer(mine);
  return positions;
}

}  // namespace levin
