#include "levin/device/host_copy.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

namespace levin {

struct HostCopy::Transfer {
  Tensor source, values;  // the source until the copy is done
  std::optional<c10::Event> done;
};

HostCopy::HostCopy(const Tensor& values) : transfer_(std::make_shared<Transfer>()) {
  const Tensor source = values.detach();
  if (source.is_cpu()) {
    transfer_->values = source.clone();
    return;
  }
  transfer_->source = source;
  transfer_->values = at::empty(source.sizes(), at::TensorOptions(source.scalar_type()).pinned_memory(source.is_cuda()));
  transfer_->values.copy_(source, /*non_blocking=*/true);
  transfer_->done.emplace(source.device().type());
  transfer_->done->record(c10::impl::VirtualGuardImpl(source.device().type()).getStream(source.device()));
}

const Tensor& HostCopy::get() const {
  if (transfer_->done) {
    transfer_->done->synchronize();
    transfer_->done.reset();
    transfer_->source.reset();
  }
  return transfer_->values;
}

}  // namespace levin
