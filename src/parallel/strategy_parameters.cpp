// A strategy's parameters and buffers as a program sees them: read, written, frozen, looked up by name.
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "levin/comm/communicator.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/nn/module_buffers.h"
#include "levin/parallel/strategy.h"
#include "model_checks.h"
#include "strategy_parts.h"

namespace levin {

// Where a unit's parameters are sharded, they are whole while it is its turn.
void Strategy::visit_units(const std::function<void(size_t parameter)>& visit, bool write) {
  for (size_t unit = 0; unit < making_->tree.units.size(); unit++) {
    std::vector<FlatGroup*> gathered;
    for (auto& group : groups_)
      if (group.layout().unit == static_cast<int>(unit) && group.parameters_sharded()) group.gather(), gathered.push_back(&group);
    for (size_t i = 0; i < parameters_.size(); i++)
      if (making_->unit_of_parameter[i] == unit) visit(i);
    if (write && form_.lifetimes.gathers_once && !gathered.empty()) communicator_->barrier();
    for (auto* group : gathered) {
      if (write) group->keep_part();
      group->release();
    }
  }
  for (auto& group : groups_)
    if (write) group.part_changed();
}

// What a visit throws is rethrown when all ranks have met, and is a UsageError on the others.
void Strategy::visit_parameters(const std::function<void(size_t parameter)>& visit, bool write) {
  std::exception_ptr failure;
  if (running_->runners) running_->runners->release_all();
  at::NoGradGuard no_grad;
  visit_units(
      [&](size_t parameter) {
        if (failure) return;
        try {
          visit(parameter);
        } catch (...) {
          failure = std::current_exception();
        }
      },
      write);
  const auto failed = exchange({failure ? 1.0 : 0.0});
  if (failure) std::rethrow_exception(failure);
  for (size_t rank = 0; rank < failed.size(); rank++)
    if (failed[rank] != 0)
      throw UsageError("parallel", fmt::format("rank {} failed while it {} the parameters", rank, write ? "wrote" : "read"),
                       "see that rank's message");
}

void Strategy::write_parameters(const std::function<void(const std::string&, Tensor&)>& fn) {
  if (form_.one_copy()) communicator_->barrier();  // others may still compute with what is about to change
  const bool writes = !form_.one_copy() || communicator_->node()->rank() == 0;
  visit_parameters(
      [&](size_t parameter) {
        if (writes) fn(parameters_[parameter].name, parameters_[parameter].tensor);
      },
      /*write=*/true);
}

void Strategy::read_parameters(const std::function<void(const std::string&, const Tensor&)>& fn) {
  visit_parameters([&](size_t parameter) { fn(parameters_[parameter].name, parameters_[parameter].tensor.detach()); }, /*write=*/false);
}

std::vector<ParameterSlice> Strategy::parameter_slices() const {
  std::vector<ParameterSlice> slices;
  for (const auto& group : groups_)
    for (const auto& [parameter, range] : group.layout().placements)
      if (const Range mine = intersect(range, group.owned()); mine.size() > 0)
        slices.push_back({parameters_[static_cast<size_t>(parameter)].name, group.values(mine), mine.begin - range.begin});
  return slices;
}

std::vector<NamedParameter> Strategy::buffers() const {
  const auto module = module_.lock();
  if (!module) return buffers_;
  std::vector<NamedParameter> found;
  for (const auto& item : module->named_buffers()) found.push_back({item.key(), item.value()});
  return found;
}

void Strategy::define_buffers(const std::function<std::optional<BufferForm>(const std::string& name)>& form_of) {
  const auto module = module_.lock();
  if (!module || undefined_at_setup_.empty()) return;
  for (const auto& [name, slot] : buffer_slots(*module)) {
    if (std::find(undefined_at_setup_.begin(), undefined_at_setup_.end(), name) == undefined_at_setup_.end()) continue;
    const auto form = form_of(name);
    *slot = form ? at::zeros(form->first, at::TensorOptions(form->second).device(communicator_->device())) : Tensor();
  }
}

void Strategy::broadcast_buffers() {
  if (communicator_->size() == 1) return;
  const at::NoGradGuard no_grad;
  const auto all = buffers();
  detail::check_same_buffers(all, *communicator_);
  for (const auto& [name, buffer] : all) {
    const Tensor values = buffer.detach(), sent = values.to(communicator_->device()).contiguous();  // itself, as a rule
    communicator_->broadcast(sent, 0).wait();
    if (!sent.is_alias_of(values)) buffer.set_data(sent.to(values.device()));
  }
}

// By parameter; empty: none.
std::vector<char> Strategy::frozen(const std::vector<FlatGroup*>& groups) const {
  std::vector<char> flags;
  std::unordered_set<const void*> toggled_off;
  for (const auto& tensor : toggled_off_) toggled_off.insert(tensor.unsafeGetTensorImpl());
  for (const auto* group : groups)
    for (size_t i = 0; group->trained() && i < group->members().size(); i++) {
      const auto& member = group->members()[i];
      if (member.requires_grad() || toggled_off.contains(member.unsafeGetTensorImpl())) continue;
      if (flags.empty()) flags.resize(parameters_.size());
      flags[static_cast<size_t>(group->layout().placements[i].parameter)] = 1;
    }
  return flags;
}

std::vector<std::string> Strategy::frozen_parameters() const {
  std::vector<std::string> names;
  for (const auto& optimizer : optimizers_) {
    const auto flags = frozen(optimizer.groups());
    for (size_t i = 0; i < flags.size(); i++)
      if (flags[i]) names.push_back(parameters_[i].name);
  }
  return names;
}

void Strategy::freeze_parameters(const std::vector<std::string>& names) {
  const std::unordered_set<std::string> wanted(names.begin(), names.end());
  for (const auto& group : groups_)
    for (size_t i = 0; group.trained() && i < group.members().size(); i++)
      group.members()[i].set_requires_grad(!wanted.contains(parameters_[static_cast<size_t>(group.layout().placements[i].parameter)].name));
}

// Without a gradient buffer and an optimizer's state it would not be trained.
void Strategy::refuse_unfrozen() const {
  for (const auto& group : groups_)
    for (size_t i = 0; !group.trained() && i < group.members().size(); i++)
      if (group.members()[i].requires_grad())
        throw UsageError("parallel",
                         fmt::format("parameter {} requires a gradient now, and required none when the training was set up",
                                     detail::name_and_shape(parameters_[static_cast<size_t>(group.layout().placements[i].parameter)])),
                         "leave it trainable, freeze it in on_fit_start, and unfreeze it when it is to be trained");
}

void Strategy::warn_of_unregistered(const Tensor& loss) {
  if (communicator_->rank() != 0) return;
  const auto forms = detail::unregistered_leaves(loss, parameters_);
  if (forms.empty()) return;
  constexpr size_t most = 4;
  const std::vector<std::string> shown_forms(forms.begin(), forms.begin() + static_cast<std::ptrdiff_t>(std::min(most, forms.size())));
  log_.warning(
      "[parallel] the loss depends on {} tensor(s) that require a gradient and that no module registers: {}{}; they are neither trained "
      "nor saved: register the layer (register_module) or the tensor (register_parameter)",
      forms.size(), joined(shown_forms), forms.size() > most ? ", …" : "");
}

}  // namespace levin
