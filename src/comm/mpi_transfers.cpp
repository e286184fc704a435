#include "mpi_transfers.h"

#include <algorithm>

#include "levin/comm/mpi_runtime.h"

namespace levin::detail {
namespace {

enum Tag : int { from_sender = 1, from_receiver, data };
constexpr size_t message_bytes = size_t{1} << 30;  // limit for one MPI message

// Each message has its own tag: MPI may report the headers of two messages of a pair in either order.
int data_tag(const CallHeader& call) { return Tag::data + static_cast<int>(call.sequence & 0x3fff); }

}  // namespace

struct MpiTransfers::Active {
  Message message;
  Call theirs = {};
  bool agreed = false, complete = false;
  std::vector<MPI_Request> requests = {};
};

MpiTransfers::MpiTransfers(MPI_Comm ranks, int self) : ranks_(ranks), self_(self) {
  int size = 0;
  MPI_Comm_size(ranks_, &size);
  sent_.resize(static_cast<size_t>(size));
  received_.resize(static_cast<size_t>(size));
}

MpiTransfers::~MpiTransfers() {
  for (auto& message : active_) static_cast<void>(message.release());
}

void MpiTransfers::start(std::span<const Message> messages) {
  for (const auto& message : messages) {
    auto& active = *active_.emplace_back(std::make_unique<Active>(Active{message}));
    const int peer = message.peer_name;
    active.message.call.header.sequence = ++(message.sends ? sent_ : received_)[static_cast<size_t>(peer)];
    active.requests.assign(2, MPI_REQUEST_NULL);
    check_mpi(
        MPI_Irecv(&active.theirs, sizeof(Call), MPI_BYTE, peer, message.sends ? from_receiver : from_sender, ranks_, &active.requests[0]),
        "MPI_Irecv");
    check_mpi(MPI_Isend(&active.message.call, sizeof(Call), MPI_BYTE, peer, message.sends ? from_sender : from_receiver, ranks_,
                        &active.requests[1]),
              "MPI_Isend");
  }
}

bool MpiTransfers::progress() {
  bool moved = false;
  for (auto& message : active_) moved = step(*message) || moved;
  if (moved) std::erase_if(active_, [](const auto& message) { return message->complete; });
  return moved;
}

bool MpiTransfers::step(Active& active) {
  int done = 0;
  check_mpi(MPI_Testall(static_cast<int>(active.requests.size()), active.requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
  if (!done) return false;
  if (active.agreed) return active.complete = true;
  const auto& message = active.message;
  const int peer = message.peer_name;
  if (!message_matches(message.call.header, active.theirs.header)) {
    if (!failure_)
      failure_ = std::make_exception_ptr(self_ < peer ? disagreement(self_, message.call, peer, active.theirs)
                                                      : disagreement(peer, active.theirs, self_, message.call));
    return active.complete = true;
  }
  active.agreed = true;
  active.requests.clear();
  std::byte* bytes = data_of(message.tensor);
  for (size_t begin = 0, size = message.tensor.nbytes(); begin < size; begin += message_bytes) {
    const int count = static_cast<int>(std::min(message_bytes, size - begin));
    auto& request = active.requests.emplace_back(MPI_REQUEST_NULL);
    if (message.sends)
      check_mpi(MPI_Isend(bytes + begin, count, MPI_BYTE, peer, data_tag(message.call.header), ranks_, &request), "MPI_Isend");
    else
      check_mpi(MPI_Irecv(bytes + begin, count, MPI_BYTE, peer, data_tag(message.call.header), ranks_, &request), "MPI_Irecv");
  }
  if (active.requests.empty()) active.complete = true;
  return true;
}

void MpiTransfers::rethrow() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace levin::detail
