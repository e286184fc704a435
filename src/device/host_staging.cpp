#include "levin/device/host_staging.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "stream_order.h"

namespace levin {

struct HostStaging::Buffer {
  Tensor memory;  // bytes
  std::optional<c10::Event> filled;
  std::byte* target = nullptr;
  size_t bytes = 0;

  // Waits until it is filled.
  void drain() {
    if (!filled) return;
    filled->synchronize();
    filled.reset();
    std::memcpy(target, memory.const_data_ptr(), bytes);
  }
};

struct HostStaging::Device {
  Device(c10::Device on, int64_t bytes) : device(on), stream(c10::impl::VirtualGuardImpl(on.type()).getStreamFromGlobalPool(on)) {
    for (auto& buffer : buffers) buffer.memory = at::empty({bytes}, at::TensorOptions(at::kByte).pinned_memory(on.is_cuda()));
  }
  c10::Device device;
  c10::Stream stream;
  std::array<Buffer, 2> buffers;
};

HostStaging::HostStaging(int64_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}
HostStaging::HostStaging(HostStaging&&) noexcept = default;
HostStaging::~HostStaging() = default;

Tensor HostStaging::read(const Tensor& values) {
  Tensor source = values.detach().contiguous();
  if (source.is_cpu()) return source;
  if (!device_ || device_->device != source.device()) device_ = std::make_unique<Device>(source.device(), buffer_bytes_);
  Tensor result = at::empty(source.sizes(), at::TensorOptions(source.scalar_type()));
  detail::wait_for(device_->stream, c10::impl::VirtualGuardImpl(source.device().type()).getStream(source.device()));
  const auto element = static_cast<int64_t>(source.element_size());
  const int64_t numel = source.numel(), part = std::max<int64_t>(1, buffer_bytes_ / element);
  const Tensor flat = source.view(-1);
  auto* target = static_cast<std::byte*>(result.mutable_data_ptr());
  size_t next = 0;
  for (int64_t begin = 0; begin < numel; begin += part, next = 1 - next) {
    auto& buffer = device_->buffers[next];
    buffer.drain();
    const int64_t count = std::min(part, numel - begin);
    buffer.target = target + begin * element, buffer.bytes = static_cast<size_t>(count * element);
    const c10::StreamGuard guard(device_->stream);
    buffer.memory.narrow(0, 0, count * element).view(source.scalar_type()).copy_(flat.narrow(0, begin, count), /*non_blocking=*/true);
    buffer.filled.emplace(source.device().type());
    buffer.filled->record(device_->stream);
  }
  device_->buffers[next].drain();
  device_->buffers[1 - next].drain();
  return result;
}

}  // namespace levin
