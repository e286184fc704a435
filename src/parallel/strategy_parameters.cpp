// A strategy's parameters and buffers as a program sees them: read, written, frozen, looked up by name.
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "levin/comm/host_values.h"
#include "levin/comm/mesh.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/nn/module_buffers.h"
#include "model_checks.h"
#include "strategy_engine.h"

namespace levin {

void Strategy::Engine::visit_parameters(bool write, const std::function<void(size_t parameter)>& visit) {
  schedule->reshard_all();
  const at::NoGradGuard no_grad;
  std::exception_ptr failure;
  for (size_t unit = 0; unit < tree.units.size(); unit++) {
    std::vector<ParameterStore*> stores;
    for (auto& group : groups)
      if (group.layout().unit == static_cast<int>(unit)) stores.push_back(&group.store());
    for (auto* store : stores) store->start_unshard(), store->finish_unshard();
    for (size_t i = 0; i < parameters.size() && !failure; i++) try {
        if (unit_of_parameter[i] == unit) visit(i);
      } catch (...) {
        failure = std::current_exception();
      }
    for (auto* store : stores) {
      if (write) store->write_back();
      store->reshard();
    }
  }
  if (write)
    for (auto& group : groups) group.shard_changed();
  rethrow_on_all_ranks(*communicator, failure, "parallel");
}

void Strategy::write_parameters(const std::function<void(const std::string&, Tensor&)>& fn) {
  auto& engine = *engine_;
  if (engine.communicator->size() > 1) engine.communicator->barrier();  // others may still read a shared copy that is about to change
  const bool writes = engine.groups.empty() || engine.groups.front().store().writes();
  engine.visit_parameters(/*write=*/true, [&](size_t i) {
    if (writes) fn(engine.parameters[i].name, engine.parameters[i].tensor);
  });
}

void Strategy::read_parameters(const std::function<void(const std::string&, const Tensor&)>& fn) {
  engine_->visit_parameters(/*write=*/false, [&](size_t i) { fn(engine_->parameters[i].name, engine_->parameters[i].tensor.detach()); });
}

std::vector<ParameterSlice> Strategy::parameter_slices() const {
  std::vector<ParameterSlice> slices;
  for (const auto& group : engine_->groups)
    for (const auto& [parameter, range] : group.layout().parameters)
      if (const Range mine = intersect(range, group.owned()); mine.size() > 0)
        slices.push_back({engine_->parameters[static_cast<size_t>(parameter)].name, group.store().values(mine), mine.begin - range.begin});
  return slices;
}

void Strategy::assign_parameter_slices(const std::vector<Tensor>& values) {
  auto& engine = *engine_;
  const bool several = engine.communicator->size() > 1;
  const at::NoGradGuard no_grad;
  if (several) engine.communicator->barrier();  // others may still read a shared copy that is about to change
  engine.schedule->reshard_all();
  size_t next = 0;
  for (auto& group : engine.groups) {
    for (const auto& [parameter, range] : group.layout().parameters)
      if (const Range mine = intersect(range, group.owned()); mine.size() > 0) {
        const Tensor& assigned = values.at(next++);
        if (group.trained()) group.store().values(mine).copy_(assigned);
      }
    group.shard_changed();
  }
  if (several) engine.communicator->barrier();
  std::vector<Work> published;
  for (auto& group : engine.groups)
    if (group.trained()) published.push_back(group.store().publish());
  for (auto& work : published) work.wait();
  if (several) engine.communicator->barrier();
}

std::vector<NamedParameter> Strategy::Engine::current_buffers() const {
  const auto held = module.lock();
  if (!held) return buffers;
  std::vector<NamedParameter> found;
  for (const auto& item : held->named_buffers()) found.push_back({item.key(), item.value()});
  return found;
}

void Strategy::define_buffers(const std::function<std::optional<BufferForm>(const std::string& name)>& form_of) {
  const auto module = engine_->module.lock();
  const auto& undefined = engine_->undefined_buffers;
  if (!module || undefined.empty()) return;
  for (const auto& [name, slot] : buffer_slots(*module)) {
    if (std::find(undefined.begin(), undefined.end(), name) == undefined.end()) continue;
    const auto form = form_of(name);
    *slot = form ? at::zeros(form->shape, at::TensorOptions(form->dtype).device(engine_->communicator->device())) : Tensor();
  }
}

void Strategy::broadcast_buffers() {
  auto& communicator = *engine_->communicator;
  if (communicator.size() == 1) return;
  const at::NoGradGuard no_grad;
  const auto buffers = engine_->current_buffers();
  detail::check_same_buffers(buffers, communicator);
  for (const auto& [name, buffer] : buffers) {
    const Tensor values = buffer.detach(), sent = values.to(communicator.device()).contiguous();  // mostly itself
    communicator.broadcast(sent, 0).wait();
    if (!sent.is_alias_of(values)) buffer.set_data(sent.to(values.device()));
  }
}

std::vector<char> Strategy::Engine::frozen_parameters(size_t optimizer) const {
  std::vector<char> frozen;
  std::unordered_set<const void*> off;
  for (const auto& tensor : toggled_off) off.insert(tensor.unsafeGetTensorImpl());
  for (const auto* group : optimizers[optimizer].groups())
    for (size_t i = 0; group->trained() && i < group->members().size(); i++) {
      const auto& member = group->members()[i];
      if (member.requires_grad() || off.contains(member.unsafeGetTensorImpl())) continue;
      frozen.resize(parameters.size());
      frozen[static_cast<size_t>(group->layout().parameters[i].parameter)] = 1;
    }
  return frozen;
}

std::vector<std::string> Strategy::frozen_parameters() const {
  std::vector<std::string> names;
  for (size_t optimizer = 0; optimizer < engine_->optimizers.size(); optimizer++) {
    const auto frozen = engine_->frozen_parameters(optimizer);
    for (size_t i = 0; i < frozen.size(); i++)
      if (frozen[i]) names.push_back(engine_->parameters[i].name);
  }
  return names;
}

void Strategy::freeze_parameters(const std::vector<std::string>& names) {
  const std::unordered_set<std::string> frozen(names.begin(), names.end());
  for (const auto& group : engine_->groups)
    for (size_t i = 0; group.trained() && i < group.members().size(); i++) {
      const auto& name = engine_->parameters[static_cast<size_t>(group.layout().parameters[i].parameter)].name;
      group.members()[i].set_requires_grad(!frozen.contains(name));
    }
}

void Strategy::Engine::refuse_unfrozen() const {
  for (const auto& group : groups)
    for (size_t i = 0; !group.trained() && i < group.members().size(); i++)
      if (group.members()[i].requires_grad())
        throw UsageError("parallel",
                         fmt::format("parameter {} requires a gradient now, and required none when the training was set up",
                                     detail::name_and_shape(parameters[static_cast<size_t>(group.layout().parameters[i].parameter)])),
                         "leave it trainable, freeze it in on_fit_start, and unfreeze it when it is to be trained");
}

void Strategy::Engine::warn_of_unregistered(const Tensor& loss) const {
  if (mesh->rank() != 0) return;
  auto forms = detail::unregistered_leaves(loss, parameters);
  if (forms.empty()) return;
  constexpr size_t most = 4;
  const size_t found = forms.size();
  forms.resize(std::min(most, found));
  log.warning(
      "[parallel] the loss depends on {} tensor(s) that require a gradient and that no module registers: {}{}; they are neither trained "
      "nor saved: register the layer (register_module) or the tensor (register_parameter)",
      found, joined(forms), found > most ? ", …" : "");
}

}  // namespace levin
