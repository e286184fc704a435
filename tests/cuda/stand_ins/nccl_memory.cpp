// ncclMemAlloc, registration, symmetric windows.
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "nccl_comm.h"
#include "nccl_stand_in.h"

using stand_in::nccl_findings, stand_in::nccl_settings, stand_in::usable;

namespace {

struct Allocations {
  std::mutex mutex;
  std::map<void*, size_t> bytes;
};
Allocations& allocations() {
  static auto* const known = new Allocations;
  return *known;
}

}  // namespace

extern "C" {

ncclResult_t ncclMemAlloc(void** memory, size_t bytes) {
  if (nccl_settings().without_memory) return ncclSystemError;
  if (posix_memalign(memory, 4096, bytes) != 0) return ncclSystemError;
  std::memset(*memory, 0xa5, bytes);
  const std::lock_guard lock(allocations().mutex);
  allocations().bytes[*memory] = bytes;
  return ncclSuccess;
}

ncclResult_t ncclMemFree(void* memory) {
  size_t bytes = 0;
  {
    const std::lock_guard lock(allocations().mutex);
    const auto found = allocations().bytes.find(memory);
    if (found == allocations().bytes.end()) return ncclInvalidArgument;
    bytes = found->second;
    allocations().bytes.erase(found);
  }
  if (stand_in::memory_in_use().overlaps(memory, bytes) || stand_in::is_registered(memory, bytes)) nccl_findings().freed_in_use++;
  std::memset(memory, 0xdd, bytes);
  std::free(memory);
  return ncclSuccess;
}

ncclResult_t ncclCommRegister(ncclComm_t comm, void* data, size_t bytes, void** handle) {
  if (const auto code = usable(comm); code != ncclSuccess) return code;
  const stand_in::CallInProgress call(comm);
  if (nccl_settings().without_registration) return ncclSystemError;
  nccl_findings().registrations++;
  *handle = comm->registry.add(data, bytes, false);
  return ncclSuccess;
}

ncclResult_t ncclCommDeregister(ncclComm_t comm, void* handle) {
  if (const auto code = usable(comm); code != ncclSuccess) return code;
  const stand_in::CallInProgress call(comm);
  nccl_findings().deregistrations++;
  return comm->registry.remove(handle) ? ncclSuccess : ncclInvalidArgument;
}

// Collective. Success without a window where there is no support, as NCCL.
ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* data, size_t bytes, ncclWindow_t* window, int) {
  if (const auto code = usable(comm); code != ncclSuccess) return code;
  const stand_in::Management management(comm);
  const stand_in::CallInProgress call(comm);
  if (!comm->meeting->gate()) return ncclInternalError;
  *window = nullptr;
  if (nccl_settings().without_registration) return ncclSystemError;
  if (nccl_settings().without_windows) return ncclSuccess;
  nccl_findings().windows++;
  *window = static_cast<ncclWindow_t>(comm->registry.add(data, bytes, true));
  return ncclSuccess;
}

ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t window) { return ncclCommDeregister(comm, window); }

}  // extern "C"
