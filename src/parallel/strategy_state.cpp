#include "levin/comm/communicator.h"
#include "levin/parallel/strategy.h"
#include "strategy_parts.h"

namespace levin {

std::vector<StateTensor> Strategy::state(StateUse use, bool weights_only) const {
  std::vector<StateTensor> all;
  for (const auto& [name, tensor] : parameters_) all.push_back({"model/" + name, tensor.scalar_type(), tensor.sizes().vec()});
  for (const auto& group : groups_) {
    const Range wanted = group.parameters_for(use);
    for (const auto& placement : group.layout().placements) all[static_cast<size_t>(placement.parameter)].dtype = group.layout().dtype;
    for (const auto& [parameter, range] : group.layout().placements)
      if (const Range part = intersect(range, wanted); part.size() > 0)
        all[static_cast<size_t>(parameter)].parts.push_back({part.begin - range.begin, group.values(part)});
  }
  for (const auto& [name, tensor] : buffers()) {
    if (use == StateUse::load && !tensor.is_contiguous()) tensor.set_data(tensor.contiguous());
    StateTensor buffer{"model/" + name, tensor.scalar_type(), tensor.sizes().vec()};
    if ((use == StateUse::load || communicator_->rank() == 0) && tensor.numel() > 0)
      buffer.parts.push_back({0, tensor.detach().contiguous().view(-1)});
    all.push_back(std::move(buffer));
  }
  if (weights_only || specs_.empty()) return all;
  const auto names = optimizer_names(specs_);
  for (size_t i = 0; i < optimizers_.size(); i++) optimizers_[i].add_state(use, "optimizer/" + names[i] + "/", parameters_, all);
  return all;
}

void Strategy::loaded(const std::vector<int64_t>& optimizer_steps) {
  for (size_t i = 0; i < optimizer_steps.size(); i++) optimizers_[i].set_steps(optimizer_steps[i]);
  if (running_->runners) running_->runners->release_all();  // what was gathered is old
  for (auto& group : groups_) group.part_changed();
  if (communicator_->size() > 1) communicator_->barrier();
}

}  // namespace levin
