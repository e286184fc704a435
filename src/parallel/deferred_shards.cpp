#include "deferred_shards.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace levin::detail {

void DeferredShards::shard(const torch::nn::Module& unit) {
  const at::NoGradGuard no_grad;
  for (const Tensor& parameter : unit.parameters()) {
    auto* storage = parameter.storage().unsafeGetStorageImpl();
    if (has(parameter) || storage->nbytes() != parameter.nbytes() || !parameter.is_contiguous()) continue;
    const auto dtype = dtype_ && parameter.is_floating_point() ? *dtype_ : parameter.scalar_type();
    const int64_t numel = parameter.numel(), size = (numel + ranks_.size() - 1) / ranks_.size();
    const int64_t begin = std::min(numel, size * ranks_.rank()), length = std::min(size, numel - begin);
    const Tensor part = at::zeros({size}, parameter.options().dtype(dtype).requires_grad(false));
    part.narrow(0, 0, length).copy_(parameter.detach().view(-1).narrow(0, begin, length));
    shards_[parameter.unsafeGetTensorImpl()] = part;
    storage->set_data_ptr_noswap(c10::DataPtr(nullptr, storage->device()));
    storage->set_nbytes(0);
  }
}

at::ScalarType DeferredShards::dtype_of(const Tensor& parameter) const { return shards_.at(parameter.unsafeGetTensorImpl()).scalar_type(); }

void DeferredShards::take(const Tensor& parameter, const Tensor& target) {
  const Tensor part = shards_.at(parameter.unsafeGetTensorImpl()).to(ranks_.device());
  const Tensor whole = at::empty({part.numel() * ranks_.size()}, part.options());
  ranks_.all_gather(whole, part).wait();
  target.view(-1).copy_(whole.narrow(0, 0, target.numel()));
  shards_.erase(parameter.unsafeGetTensorImpl());
}

}  // namespace levin::detail
