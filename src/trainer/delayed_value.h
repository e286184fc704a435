#pragma once
#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "levin/core/tensor.h"

namespace levin {

/// A number of a GPU on its way to the host, which does not wait for it until it is asked for.
class DelayedValue {
 public:
  explicit DelayedValue(const Tensor& value)
      : arrived_(value.device().type()), host_(at::empty({}, at::TensorOptions(at::kDouble).pinned_memory(true))) {
    host_.copy_(value.detach().view({}), /*non_blocking=*/true);
    arrived_.record(c10::impl::VirtualGuardImpl(value.device().type()).getStream(value.device()));
  }
  double get() const {
    arrived_.synchronize();
    return *host_.const_data_ptr<double>();
  }

 private:
  c10::Event arrived_;
  Tensor host_;
};

}  // namespace levin
