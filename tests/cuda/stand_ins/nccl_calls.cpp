// Collectives and messages: kernels that wait for the other ranks on a stream.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "cuda_stand_in.h"
#include "nccl_comm.h"
#include "nccl_stand_in.h"
#include "reduce.h"

using stand_in::Call, stand_in::nccl_findings, stand_in::nccl_settings;
using Kind = Call::Kind;

namespace {

std::atomic<int> slots_taken = 0;

struct Buffer {
  const void* data;
  size_t bytes;
};

// The kernel of a call that does not end.
void until_abort(ncclComm* comm) {
  comm->meeting->wait([] { return false; });
}

// The offset that another rank must have. In place, a rank's part lies at an offset by rank in the whole.
int64_t offset_of(int64_t own, int64_t whole, int64_t part_bytes, int rank, int other) {
  return own >= 0 && own == whole + rank * part_bytes ? whole + other * part_bytes : own;
}

void compare(ncclComm* comm, const Call& call, const stand_in::Placement& placement) {
  const auto part_bytes = static_cast<int64_t>(call.count * stand_in::element_bytes(static_cast<ncclDataType_t>(call.type)));
  for (int other = 0; other < comm->size; other++) {
    const auto& seat = comm->meeting->seat(other);
    if (!(seat.call == call)) {
      nccl_findings().mismatches++;
      if (nccl_settings().compare_calls) comm->error = ncclInvalidUsage;
      return;
    }
    const auto& its = seat.placement;
    if (its.input_registered != placement.input_registered || its.output_registered != placement.output_registered)
      nccl_findings().mixed_registrations++;
    auto [input, output] = std::pair(placement.input_offset, placement.output_offset);
    if (call.kind == Kind::all_gather) input = offset_of(input, output, part_bytes, comm->rank, other);
    if (call.kind == Kind::reduce_scatter) output = offset_of(output, input, part_bytes, comm->rank, other);
    if (its.input_offset != input || its.output_offset != output) nccl_findings().unequal_offsets++;
  }
}

size_t input_elements(const ncclComm* comm, const Call& call) {
  return call.count * static_cast<size_t>(call.kind == Kind::reduce_scatter ? comm->size : 1);
}
size_t output_elements(const ncclComm* comm, const Call& call) {
  return call.count * static_cast<size_t>(call.kind == Kind::all_gather ? comm->size : 1);
}

void move_data(ncclComm* comm, const Call& call, std::byte* output) {
  const auto type = static_cast<ncclDataType_t>(call.type);
  const size_t bytes = call.count * stand_in::element_bytes(type);
  const size_t skipped = call.kind == Kind::reduce_scatter ? bytes * static_cast<size_t>(comm->rank) : 0;
  std::vector<const std::byte*> inputs;
  for (int rank = 0; rank < comm->size; rank++) inputs.push_back(comm->meeting->area(rank) + skipped);
  switch (call.kind) {
    case Kind::all_reduce:
    case Kind::reduce_scatter: stand_in::reduce(output, inputs, call.count, type, static_cast<ncclRedOp_t>(call.op)); break;
    case Kind::all_gather:
      for (size_t rank = 0; rank < inputs.size(); rank++) std::memcpy(output + rank * bytes, inputs[rank], bytes);
      break;
    case Kind::broadcast: std::memcpy(output, inputs[static_cast<size_t>(call.root)], bytes); break;
  }
}

void run_collective(ncclComm* comm, uint64_t number, const Call& call, const void* input, void* output) {
  auto& meeting = *comm->meeting;
  const size_t width = stand_in::element_bytes(static_cast<ncclDataType_t>(call.type));
  const size_t in = input_elements(comm, call) * width, out = output_elements(comm, call) * width;
  if (in > stand_in::area_bytes) std::fputs("too large for the stand-in for libnccl\n", stderr), std::abort();
  // All ranks have read the data of the collective before.
  if (!meeting.wait_for_seats([number](const stand_in::Seat& seat) { return seat.done >= number - 1; })) return;
  auto& mine = meeting.mine();
  std::memcpy(meeting.area(comm->rank), input, in);
  mine.call = call;
  mine.placement = comm->registry.place(input, in, output, out);
  if (mine.placement.input_registered && mine.placement.output_registered) nccl_findings().registered_calls++;
  mine.posted = number;
  if (!meeting.wait_for_seats([number](const stand_in::Seat& seat) { return seat.posted >= number; })) return;
  compare(comm, call, mine.placement);
  move_data(comm, call, static_cast<std::byte*>(output));
  mine.done = number;
}

struct Message {
  bool sends;
  std::byte* data;
  size_t bytes;
  int peer;
  uint64_t number;
  bool begun = false;
};

// Whether the message is complete: a send when its receiver has it.
bool advance(ncclComm* comm, Message& message) {
  auto& box = message.sends ? comm->meeting->mailbox(comm->rank, message.peer) : comm->meeting->mailbox(message.peer, comm->rank);
  if (message.sends) {
    if (!message.begun && box.received >= message.number - 1) {
      std::memcpy(box.data, message.data, message.bytes);
      box.bytes = message.bytes;
      box.sent = message.number;
      message.begun = true;
    }
    return message.begun && box.received >= message.number;
  }
  if (box.sent < message.number) return false;
  if (box.bytes != message.bytes) {
    nccl_findings().mismatches++;
    if (nccl_settings().compare_calls) comm->error = ncclInvalidUsage;
  }
  std::memcpy(message.data, box.data, std::min<size_t>(box.bytes, message.bytes));
  box.received = message.number;
  return true;
}

void run_messages(ncclComm* comm, std::vector<Message> messages) {
  comm->meeting->wait([&] {
    std::erase_if(messages, [&](Message& message) { return advance(comm, message); });
    return messages.empty();
  });
}

constexpr int messages_kind = -2;  // of sends and receives

// Puts a kernel on the stream.
ncclResult_t start(ncclComm* comm, cudaStream_t stream, int kind, std::vector<Buffer> used, std::function<void()> kernel) {
  stand_in::random_delay(nccl_settings().delay_us);
  const int number = ++nccl_findings().calls;
  if (number == nccl_settings().fail_at) return ncclInternalError;
  if (nccl_settings().connect_at_first_call && !comm->connected && !comm->meeting->gate()) return ncclInternalError;
  comm->connected = true;
  const bool hangs = number == nccl_settings().hang_at, breaks = number == nccl_settings().async_error_at;
  for (const auto& [data, bytes] : used) stand_in::memory_in_use().add(data, bytes);
  comm->in_flight++;
  stand_in::launch(stream, [=] {
    if (kind == nccl_settings().late_kind) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    if (stand_in::take_slot(comm->family->aborted)) {
      if (breaks) comm->error = ncclRemoteError;
      hangs || breaks ? until_abort(comm) : kernel();
      stand_in::return_slot();
    }
    for (const auto& [data, bytes] : used) stand_in::memory_in_use().remove(data, bytes);
    comm->in_flight--;
  });
  return ncclSuccess;
}

ncclResult_t collective(ncclComm* comm, const Call& call, const void* input, void* output, cudaStream_t stream) {
  if (const auto code = stand_in::usable(comm); code != ncclSuccess) return code;
  const stand_in::CallInProgress in_progress(comm);
  const size_t width = stand_in::element_bytes(static_cast<ncclDataType_t>(call.type));
  const std::vector<Buffer> used{{input, input_elements(comm, call) * width}, {output, output_elements(comm, call) * width}};
  const uint64_t number = comm->collectives + 1;
  const auto code = start(comm, stream, static_cast<int>(call.kind), used, [=] { run_collective(comm, number, call, input, output); });
  if (code == ncclSuccess) comm->collectives++;
  return code;
}

// The messages between ncclGroupStart and ncclGroupEnd.
struct Group {
  int depth = 0;
  ncclComm* comm = nullptr;
  cudaStream_t stream = nullptr;
  std::vector<Message> messages;
};
thread_local Group group;

ncclResult_t end_group() {
  auto messages = std::exchange(group.messages, {});
  if (messages.empty()) return ncclSuccess;
  std::vector<Buffer> used;
  for (const auto& message : messages) used.push_back({message.data, message.bytes});
  return start(group.comm, group.stream, messages_kind, used, [comm = group.comm, messages] { run_messages(comm, messages); });
}

ncclResult_t message(ncclComm* comm, bool sends, void* data, size_t bytes, int peer, cudaStream_t stream) {
  if (const auto code = stand_in::usable(comm); code != ncclSuccess) return code;
  const stand_in::CallInProgress in_progress(comm);
  if (peer < 0 || peer >= comm->size) return ncclInvalidArgument;
  if (bytes > stand_in::message_bytes) std::fputs("a message too large for the stand-in for libnccl\n", stderr), std::abort();
  group.comm = comm, group.stream = stream;
  group.messages.push_back({sends, static_cast<std::byte*>(data), bytes, peer, ++(sends ? comm->sent : comm->received)[peer]});
  return group.depth > 0 ? ncclSuccess : end_group();
}

}  // namespace

namespace stand_in {

bool take_slot(const std::atomic<bool>& aborted) {
  for (;;) {
    if (aborted) return false;
    if (int taken = slots_taken; taken < nccl_settings().slots) {
      if (slots_taken.compare_exchange_weak(taken, taken + 1)) return true;
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
}

void return_slot() { slots_taken--; }

}  // namespace stand_in

extern "C" {

ncclResult_t ncclGroupStart() {
  group.depth++;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() { return --group.depth == 0 ? end_group() : ncclSuccess; }
ncclResult_t ncclAllReduce(const void* input, void* output, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  return collective(comm, {Kind::all_reduce, type, op, 0, count}, input, output, stream);
}
ncclResult_t ncclReduceScatter(const void* input, void* output, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t stream) {
  return collective(comm, {Kind::reduce_scatter, type, op, 0, count}, input, output, stream);
}
ncclResult_t ncclAllGather(const void* input, void* output, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  return collective(comm, {Kind::all_gather, type, 0, 0, count}, input, output, stream);
}
ncclResult_t ncclBroadcast(const void* input, void* output, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return collective(comm, {Kind::broadcast, type, 0, root, count}, input, output, stream);
}
ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return message(comm, true, const_cast<void*>(data), count * stand_in::element_bytes(type), peer, stream);
}
ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return message(comm, false, data, count * stand_in::element_bytes(type), peer, stream);
}

}  // extern "C"
