#pragma once
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>

#include "levin/core/error.h"

namespace levin {

/// An error of a GPU, its driver or NCCL (74).
class CudaError : public Error {
 public:
  explicit CudaError(const std::string& message, const std::string& remedy = {}) : Error(ExitCode::io_failed, "cuda", message, remedy) {}
};

/// Throws a CudaError with the call and CUDA's message unless `code` is cudaSuccess.
void check_cuda(cudaError_t code, const char* call);
/// The same for NCCL; `communicator` may be null.
void check_nccl(ncclResult_t code, const char* call, ncclComm_t communicator = nullptr);

}  // namespace levin
