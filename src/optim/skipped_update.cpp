// Updates that a device may skip, by rules without a fused call for that.
#include <ATen/ops/where.h>

#include <utility>

#include "levin/optim/flat_optimizer.h"

namespace levin {
namespace {

// What an update changed, as it was before.
class Before {
 public:
  explicit Before(std::vector<Tensor> changed) : changed_(std::move(changed)) {
    for (const auto& tensor : changed_) copies_.push_back(tensor.clone());
  }
  // A selection: what was computed from gradients that are not finite must not be multiplied.
  void restore_where(const Tensor& skipped) const {
    for (size_t i = 0; i < changed_.size(); i++) changed_[i].copy_(at::where(skipped, copies_[i], changed_[i]));
  }

 private:
  std::vector<Tensor> changed_, copies_;
};

}  // namespace

void FlatOptimizer::step_unless(const Tensor& skip, const std::vector<SliceUpdate>& slices) const {
  const Tensor skipped = skip.ne(0);
  for (const auto& [parameters, gradients, state, lr, weight_decay, device_lr] : slices) {
    auto changed = state.tensors;
    changed.push_back(parameters);
    const Before before(std::move(changed));
    step(parameters, gradients, state, lr, weight_decay);
    before.restore_where(skipped);
    state.device_step.sub_(skip);
  }
}

Tensor LayerWiseOptimizer::direction_unless(const Tensor& skip, const Tensor& parameters, const Tensor& gradients, OptimizerState& state,
                                            double weight_decay) const {
  const Tensor skipped = skip.ne(0);
  const Before before(state.tensors);
  const Tensor towards = direction(parameters, gradients, state, weight_decay);
  before.restore_where(skipped);
  state.device_step.sub_(skip);
  return towards.masked_fill(skipped, 0);
}

}  // namespace levin
