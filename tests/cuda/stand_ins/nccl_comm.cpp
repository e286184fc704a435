// Communicators: start, split, end.
#include "nccl_comm.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "cuda_stand_in.h"
#include "nccl_stand_in.h"

using stand_in::Management, stand_in::nccl_findings, stand_in::nccl_settings, stand_in::usable;

namespace {

struct Communicators {
  std::mutex mutex;
  std::vector<ncclComm*> all;
  std::vector<std::string> names;
};
Communicators& communicators() {
  static auto* const known = new Communicators;
  return *known;
}

void note(ncclComm* comm, const ncclConfig_t* config) {
  const std::lock_guard lock(communicators().mutex);
  communicators().all.push_back(comm);
  communicators().names.emplace_back(config && config->commName ? config->commName : "");
}

[[noreturn]] void hang() {
  for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
}

ncclResult_t init(ncclComm_t* result, int size, const ncclUniqueId& id, int rank, const ncclConfig_t* config) {
  if (config && config->blocking == 0) return ncclInvalidArgument;
  auto* comm = new ncclComm(id.internal, rank, size, config);
  *result = comm;
  const Management management(comm);
  if (nccl_settings().hang_in_init) hang();
  stand_in::random_delay(nccl_settings().delay_us);
  comm->meeting = std::make_unique<stand_in::Meeting>(comm->path, rank, size, comm->family->aborted);
  note(comm, config);
  return ncclSuccess;
}

}  // namespace

namespace stand_in {

std::vector<std::string> communicator_names() {
  const std::lock_guard lock(communicators().mutex);
  return communicators().names;
}

CallInProgress::CallInProgress(ncclComm* comm) : family_(comm->family) {
  if (family_->calls++ > 0) nccl_findings().parallel_calls++;
}

ncclResult_t usable(ncclComm* comm) {
  if (!comm) return ncclInvalidArgument;
  if (comm->aborted || comm->closed) {
    nccl_findings().used_after_abort++;
    return ncclInvalidUsage;
  }
  return static_cast<ncclResult_t>(comm->error.load());
}

bool is_registered(const void* data, size_t bytes) {
  const std::lock_guard lock(communicators().mutex);
  return std::any_of(communicators().all.begin(), communicators().all.end(),
                     [&](ncclComm* comm) { return !comm->aborted && !comm->closed && comm->registry.overlaps(data, bytes); });
}

}  // namespace stand_in

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = nccl_settings().version > 0 ? nccl_settings().version.load() : NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  nccl_findings().unique_ids++;
  std::random_device random;
  std::snprintf(id->internal, sizeof(id->internal), "/tmp/nccl_stand_in_%d_%08x%08x", getpid(), random(), random());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  return init(comm, size, id, rank, config);
}

ncclResult_t ncclCommInitRankScalable(ncclComm_t* comm, int size, int rank, int ids, ncclUniqueId* id, ncclConfig_t* config) {
  return ids < 1 ? ncclInvalidArgument : init(comm, size, id[ids - 1], rank, config);
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* result, ncclConfig_t* config) {
  if (const auto code = usable(comm); code != ncclSuccess) return code;
  const Management management(comm);
  const stand_in::CallInProgress call(comm);
  if (comm->in_flight > 0) nccl_findings().busy_splits++;
  const int number = ++comm->splits;
  auto& meeting = *comm->meeting;
  meeting.mine().values[0] = color, meeting.mine().values[1] = key;
  if (!meeting.gate()) return ncclInternalError;
  int rank = 0, size = 0;
  for (int other = 0; other < comm->size; other++) {
    const auto& [its_color, its_key] = meeting.seat(other).values;
    if (its_color != color) continue;
    size++;
    if (its_key < key || (its_key == key && other < comm->rank)) rank++;
  }
  if (!meeting.gate()) return ncclInternalError;
  auto* made = new ncclComm(comm->path + "_" + std::to_string(number) + "_" + std::to_string(color), rank, size, config);
  if (comm->shares_resources) {
    made->family = comm->family;
    nccl_findings().shared_splits++;
  }
  made->meeting = std::make_unique<stand_in::Meeting>(made->path, rank, size, made->family->aborted);
  note(made, config);
  *result = made;
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (const auto code = usable(comm); code != ncclSuccess) return code;
  const Management management(comm);
  const stand_in::CallInProgress call(comm);
  if (nccl_settings().hang_in_finalize) hang();
  if (nccl_settings().fail_in_finalize) return ncclRemoteError;
  while (comm->in_flight > 0 && !comm->family->aborted) std::this_thread::sleep_for(std::chrono::microseconds(50));
  comm->finalized = true;
  return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!comm->finalized) nccl_findings().not_finalized++;
  nccl_findings().destroyed++;
  comm->closed = true;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (!comm) return ncclSuccess;
  if (comm->aborted || comm->closed) nccl_findings().used_after_abort++;
  if (comm->in_management > 0) nccl_findings().unsafe_aborts++;
  nccl_findings().aborts++;
  comm->aborted = comm->family->aborted = true;
  while (comm->in_flight > 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const stand_in::CallInProgress call(comm);
  if (comm->aborted || comm->closed) nccl_findings().used_after_abort++;
  *error = static_cast<ncclResult_t>(comm->error.load());
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t code) {
  switch (code) {
    case ncclSuccess: return "no error";
    case ncclInternalError: return "internal error";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    default: return "an error of the stand-in";
  }
}
const char* ncclGetLastError(ncclComm_t) { return ""; }

}  // extern "C"
