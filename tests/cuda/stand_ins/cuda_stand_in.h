#pragma once
// What tests set and see of the stand-in for libcudart: one device whose memory is host memory.
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <functional>

namespace stand_in {

struct CudaSettings {
  std::atomic<int> delay_us = 0;             ///< before each piece of work of a stream: random, up to this
  std::atomic<int> driver = CUDART_VERSION;  ///< the version that cudaDriverGetVersion reports
};
CudaSettings& cuda_settings();

struct CudaCounters {
  std::atomic<int64_t> device_synchronizations = 0;  ///< cudaDeviceSynchronize, and cudaFree, which does the same
};
CudaCounters& cuda_counters();

/// Puts a kernel on a stream.
void launch(cudaStream_t stream, std::function<void()> kernel);
/// Sleeps a random time up to `microseconds`.
void random_delay(int microseconds);

}  // namespace stand_in
