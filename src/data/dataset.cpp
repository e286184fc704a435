#include "levin/data/dataset.h"

#include <ATen/ops/empty.h>

namespace levin {

const Tensor& reuse_tensor(Batch& into, std::string_view name, at::IntArrayRef shape, at::ScalarType dtype) {
  for (const auto& [key, tensor] : into.tensors()) {
    if (key != name) continue;
    const bool ours = tensor.defined() && tensor.use_count() == 1 && tensor.storage().use_count() == 1 && tensor.storage().resizable();
    if (!ours || tensor.scalar_type() != dtype || !tensor.device().is_cpu() || tensor.requires_grad() || tensor.storage_offset() != 0)
      break;
    if (tensor.sizes() != shape || !tensor.is_contiguous()) tensor.resize_(shape, at::MemoryFormat::Contiguous);
    return tensor;
  }
  into.set(name, at::empty(shape, at::TensorOptions().dtype(dtype)));
  return into[name];
}

}  // namespace levin
