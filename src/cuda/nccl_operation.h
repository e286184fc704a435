#pragma once
#include <c10/cuda/CUDAEvent.h>

#include <atomic>

#include "../comm/collective.h"

namespace levin {

/// A call of NCCL on a communicator's stream.
struct NcclOperation {
  explicit NcclOperation(const detail::Call& made) : call(made) {}

  const detail::Call call;
  c10::cuda::CUDAEvent reached;  ///< its stream has done all work before it: the caller's, and calls of other communicators
  c10::cuda::CUDAEvent done;     ///< recorded once `queued`
  std::atomic<bool> queued = false;
};

}  // namespace levin
