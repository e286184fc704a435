#include <ATen/CPUGeneratorImpl.h>

#include <mutex>

#include "levin/comm/communicator.h"
#include "levin/core/mix_seed.h"
#include "levin/device/accelerator.h"

namespace levin {
namespace {

class CpuAccelerator : public Accelerator {
 public:
  std::string name() const override { return "cpu"; }
  int device_count() const override { return 1; }
  c10::Device device(int, int) const override { return c10::Device(c10::kCPU); }
  std::unique_ptr<Communicator> communicator(const MpiRuntime& runtime, const CommunicatorOptions& options, c10::Device) const override {
    return Communicator::create_cpu(runtime, options.window_directory);
  }
  int64_t alignment_bytes() const override { return 64; }
  void seed(uint64_t seed) const override {
    auto generator = at::detail::getDefaultCPUGenerator();
    const std::lock_guard lock(generator.mutex());
    generator.set_current_seed(mix_seed(seed));
  }
  void synchronize() const override {}
};

}  // namespace

std::unique_ptr<Accelerator> make_cpu_accelerator() { return std::make_unique<CpuAccelerator>(); }

}  // namespace levin
