// The plug-in liblevin_cuda.so.
#include <ATen/Context.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <c10/cuda/CUDAFunctions.h>

#include <mutex>

#include "check.h"
#include "levin/core/mix_seed.h"
#include "levin/device/accelerator.h"
#include "levin/device/plugin.h"
#include "nccl_communicator.h"

namespace levin {
namespace {

class CudaAccelerator : public Accelerator {
 public:
  CudaAccelerator() {
    if (c10::cuda::device_count() == 0)
      throw ConfigError("CUDA sees no device", "see nvidia-smi and CUDA_VISIBLE_DEVICES, or use accelerator: cpu", "cuda");
    if (!at::hasCUDA())
      throw UsageError("cuda", "LibTorch was used before the CUDA plug-in was loaded, so CUDA stays disabled",
                       "create the Session or Trainer before any call into LibTorch (even at::manual_seed), or use accelerator: cpu");
    at::globalContext().lazyInitDevice(c10::kCUDA);
  }

  std::string name() const override { return "cuda"; }
  int device_count() const override { return c10::cuda::device_count(); }

  c10::Device device(int local_rank, int local_size) const override {
    const int count = device_count();
    if (count > 1 && local_size > count)
      throw ConfigError(fmt::format("{} ranks on a host with {} GPUs", local_size, count), "start at most one rank per GPU", "cuda");
    return {c10::kCUDA, static_cast<c10::DeviceIndex>(count == 1 ? 0 : local_rank)};
  }

  std::unique_ptr<Communicator> communicator(const MpiRuntime& runtime, const CommunicatorOptions& options,
                                             c10::Device device) const override {
    return NcclCommunicator::create(runtime, options, device);
  }

  int64_t alignment_bytes() const override { return 256; }

  // A model is made on the host and moved: its first values come from the host's generator.
  void seed(uint64_t seed) const override {
    cpu_->seed(seed);
    auto generator = at::cuda::detail::getDefaultCUDAGenerator();
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(mix_seed(seed));
  }

  void synchronize() const override { check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize"); }

 private:
  std::unique_ptr<Accelerator> cpu_ = make_cpu_accelerator();
};

}  // namespace
}  // namespace levin

LEVIN_ACCELERATOR_PLUGIN(levin::CudaAccelerator)
