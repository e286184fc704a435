#include "levin/comm/communicator.h"
#include "strategy_engine.h"

namespace levin {

std::vector<StateTensor> Strategy::state(StateUse use, bool weights_only) const {
  const auto& engine = *engine_;
  std::vector<StateTensor> all;
  for (const auto& [name, tensor] : engine.parameters) all.push_back({"model/" + name, tensor.scalar_type(), tensor.sizes().vec()});
  for (const auto& group : engine.groups) {
    const Range needed = group.parameters_for(use);
    for (const auto& [parameter, range] : group.layout().parameters) {
      auto& state = all[static_cast<size_t>(parameter)];
      state.dtype = group.layout().dtype;
      if (const Range part = intersect(range, needed); part.size() > 0)
        state.parts.push_back({Hyperslab::range(part.begin - range.begin, part.end - range.begin), group.store().values(part)});
    }
  }
  for (const auto& [name, tensor] : engine.current_buffers()) {
    if (use == StateUse::load && !tensor.is_contiguous()) tensor.set_data(tensor.contiguous());
    StateTensor buffer{"model/" + name, tensor.scalar_type(), tensor.sizes().vec()};
    if ((use == StateUse::load || engine.mesh->rank() == 0) && tensor.numel() > 0)
      buffer.parts.push_back({Hyperslab::range(0, tensor.numel()), tensor.detach().contiguous().view(-1)});
    all.push_back(std::move(buffer));
  }
  if (weights_only || engine.specs.empty()) return all;
  const auto names = optimizer_names(engine.specs);
  for (size_t i = 0; i < engine.optimizers.size(); i++)
    engine.optimizers[i].add_state(use, "optimizer/" + names[i] + "/", engine.parameters, all);
  return all;
}

void Strategy::loaded(const std::vector<int64_t>& optimizer_steps) {
  auto& engine = *engine_;
  for (size_t i = 0; i < optimizer_steps.size(); i++) engine.optimizers[i].set_steps(optimizer_steps[i]);
  engine.schedule->reshard_all();  // unsharded parameters are outdated
  for (auto& group : engine.groups) group.shard_changed();
  if (engine.communicator->size() > 1) engine.communicator->barrier();
}

}  // namespace levin
