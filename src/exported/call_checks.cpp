#include "call_checks.h"

#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <c10/util/Exception.h>

#include <map>

#include "levin/nn/sync_batch_norm.h"

namespace levin::exported {
namespace {

// _weight_norm(v, g, dim): a factor for each index of the dimension, or one for -1.
void check_weight_norm(Stack& arguments) {
  const at::Tensor &v = arguments[0].toTensor(), &g = arguments[1].toTensor();
  const int64_t dim = arguments[2].toInt(), last = v.dim() - 1;
  TORCH_CHECK(dim >= -1 && dim <= last, "dim is ", dim, ", the tensor has ", v.dim(), " dimensions");
  TORCH_CHECK(v.numel() > 0, "the tensor is empty");
  TORCH_CHECK(g.numel() == (dim < 0 ? 1 : v.size(dim)), "the norm has ", g.numel(), " elements for a tensor of sizes ", v.sizes());
}

// reflection_pad3d(self, padding)
void check_padding(Stack& arguments) {
  TORCH_CHECK(arguments[1].toIntVector().size() == 6, "the padding has ", arguments[1].toIntVector().size(), " sizes, not 6");
}

// batch_norm(input, weight, bias, running_mean, running_var, training, …). PyTorch's module checks it, the kernel does not: one value has
// no variance, and NaN would stay in running_var.
void check_batch_norm(Stack& arguments) {
  const at::Tensor& input = arguments[0].toTensor();
  if (!arguments[5].toBool() || input.dim() < 2 || SyncBatchNorm::Scope::is_open()) return;
  TORCH_CHECK(input.numel() != input.size(1), "Expected more than 1 value per channel when training, got input size ", input.sizes(),
              ": set drop_last, a larger batch size, or sync_batchnorm");
}

// instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, …), likewise.
void check_instance_norm(Stack& arguments) {
  const at::Tensor& input = arguments[0].toTensor();
  if (!arguments[5].toBool() || input.dim() < 3) return;
  TORCH_CHECK(input.numel() != input.size(0) * input.size(1), "Expected more than 1 spatial element when training, got input size ",
              input.sizes());
}

// view(self, size). Python's contiguous() leaves no node in the graph where the example's tensor was contiguous. Kernels of other devices
// and dtypes may return other strides, as those of attention do.
void make_viewable(Stack& arguments) {
  const at::Tensor& self = arguments[0].toTensor();
  if (self.is_contiguous() || !arguments[1].isIntList()) return;
  const auto sizes = at::infer_size_dv(arguments[1].toIntVector(), self.numel());
  if (!at::detail::computeStride(self.sizes(), self.strides(), sizes)) arguments[0] = self.contiguous();
}

}  // namespace

CallCheck call_check(const std::string& name) noexcept {
  static const std::map<std::string, CallCheck> checks{{"_weight_norm", check_weight_norm},
                                                       {"batch_norm", check_batch_norm},
                                                       {"instance_norm", check_instance_norm},
                                                       {"reflection_pad3d", check_padding},
                                                       {"view", make_viewable}};
  const auto found = checks.find(name);
  return found == checks.end() ? nullptr : found->second;
}

}  // namespace levin::exported
