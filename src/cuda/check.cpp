#include "check.h"

namespace levin {

void check_cuda(cudaError_t code, const char* call) {
  if (code == cudaSuccess) return;
  throw CudaError(fmt::format("{} failed: {} ({})", call, cudaGetErrorString(code), cudaGetErrorName(code)),
                  code == cudaErrorMemoryAllocation ? "use a smaller batch or model, or more GPUs" : "");
}

void check_nccl(ncclResult_t code, const char* call, ncclComm_t communicator) {
  if (code == ncclSuccess) return;
  const char* details = ncclGetLastError(communicator);
  throw CudaError(
      fmt::format("{} failed: {}{}", call, ncclGetErrorString(code), details && *details ? fmt::format(" ({})", details) : std::string()),
      "set NCCL_DEBUG=WARN for NCCL's own messages");
}

}  // namespace levin
