#pragma once
// The floating-point operations of a training, from the shapes of LibTorch's operators.
#include <ATen/record_function.h>

#include <cstdint>

namespace levin::detail {

/// Counts while it lives, on the thread that made it and on autograd's threads for it. The formulas are those of
/// torch.utils.flop_counter: matrix products, convolutions and fused attention, forward and backward; a multiplication and an addition
/// are two operations, elementwise operators none. As there, an operator includes those that it calls, attention is not taken to be
/// causal, and the weight's gradient of a grouped convolution counts as that of an ungrouped one. The CPU's fused attention, which
/// torch leaves out, counts as the GPU's.
class FlopCounter {
 public:
  FlopCounter();
  ~FlopCounter();
  FlopCounter(const FlopCounter&) = delete;
  FlopCounter& operator=(const FlopCounter&) = delete;

  uint64_t flops() const;

 private:
  uint64_t before_;
  at::CallbackHandle handle_;
};

}  // namespace levin::detail
