#pragma once
// A communicator of NCCL over the stand-ins, and tensors of their device.
#include <c10/cuda/CUDAStream.h>

#include <chrono>
#include <memory>
#include <vector>

#include "cuda_stand_in.h"
#include "levin_test.h"
#include "nccl_communicator.h"
#include "nccl_stand_in.h"

namespace levin::test {

using namespace std::chrono_literals;

/// Runs for a case: settings and findings as at the start, and at the end the stand-ins have found no fault of the caller.
class NcclJob {
 public:
  explicit NcclJob(std::chrono::milliseconds timeout = 30s);
  ~NcclJob();
  NcclJob(const NcclJob&) = delete;
  NcclJob& operator=(const NcclJob&) = delete;

  int rank() const { return runtime().rank(); }
  int size() const { return runtime().size(); }
  bool last() const { return rank() == size() - 1; }
  /// Makes the communicator. Collective.
  Communicator& start();
  Communicator& ranks() { return *ranks_; }
  void stop() { ranks_.reset(); }

 private:
  CommunicatorOptions options_;
  std::unique_ptr<Communicator> ranks_;
};

/// The stand-in's device for LibTorch, without its library for CUDA. Once a process.
void use_stand_ins();

/// All ranks have come here. Without NCCL.
void meet();

/// Kernels on the current stream; they take their time.
void fill(const Tensor& tensor, float value);
/// Element i becomes begin + i.
void fill_up(const Tensor& tensor, float begin);
/// Waits for the current stream and reads [numel].
std::vector<float> values(const Tensor& tensor);
bool all_are(const Tensor& tensor, float value);
/// Arbitrary memory of LibTorch's allocator for the device.
Tensor device_tensor(int64_t numel);

}  // namespace levin::test
