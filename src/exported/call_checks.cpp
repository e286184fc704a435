#include "call_checks.h"

#include <c10/util/Exception.h>

#include <map>

namespace levin::exported {
namespace {

// _weight_norm(v, g, dim): a factor for each index of the dimension, or one for -1.
void check_weight_norm(const Stack& arguments) {
  const at::Tensor &v = arguments[0].toTensor(), &g = arguments[1].toTensor();
  const int64_t dim = arguments[2].toInt(), last = v.dim() - 1;
  TORCH_CHECK(dim >= -1 && dim <= last, "dim is ", dim, ", the tensor has ", v.dim(), " dimensions");
  TORCH_CHECK(v.numel() > 0, "the tensor is empty");
  TORCH_CHECK(g.numel() == (dim < 0 ? 1 : v.size(dim)), "the norm has ", g.numel(), " elements for a tensor of sizes ", v.sizes());
  TORCH_CHECK(g.scalar_type() == v.scalar_type(), "norm and tensor have different dtypes");
}

// reflection_pad3d(self, padding)
void check_padding(const Stack& arguments) {
  TORCH_CHECK(arguments[1].toIntVector().size() == 6, "the padding has ", arguments[1].toIntVector().size(), " sizes, not 6");
}

}  // namespace

CallCheck call_check(const std::string& name) noexcept {
  static const std::map<std::string, CallCheck> checks{{"_weight_norm", check_weight_norm}, {"reflection_pad3d", check_padding}};
  const auto found = checks.find(name);
  return found == checks.end() ? nullptr : found->second;
}

}  // namespace levin::exported
