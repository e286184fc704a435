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

std::map<std::string, int64_t> Strategy::missed_updates() const {
  std::map<std::string, int64_t> all;
  for (const auto& optimizer : engine_->optimizers)
    for (const auto* group : optimizer.groups())
      for (const auto& held : group->layout().parameters) {
        const auto parameter = static_cast<size_t>(held.parameter);
        if (const auto& missed = optimizer.missed_updates(); !missed.empty() && missed[parameter] > 0)
          all.emplace(engine_->parameters[parameter].name, missed[parameter]);
      }
  return all;
}

void Strategy::loaded(const std::vector<int64_t>& optimizer_steps, const std::map<std::string, int64_t>& missed_updates) {
  auto& engine = *engine_;
  std::vector<int64_t> missed(missed_updates.empty() ? 0 : engine.parameters.size());
  for (size_t i = 0; i < missed.size(); i++)
    if (const auto found = missed_updates.find(engine.parameters[i].name); found != missed_updates.end()) missed[i] = found->second;
  for (size_t i = 0; i < optimizer_steps.size(); i++) engine.optimizers[i].set_steps(optimizer_steps[i], missed);
  engine.schedule->reshard_all();  // unsharded parameters are outdated
  for (auto& group : engine.groups) group.shard_changed();
  if (engine.communicator->size() > 1) engine.communicator->barrier();
}

}  // namespace levin
