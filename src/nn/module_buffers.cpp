#include "levin/nn/module_buffers.h"

#include <c10/core/GradMode.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <exception>

namespace levin {
namespace {

using Slots = torch::OrderedDict<std::string, Tensor>;

// LibTorch hands out copies of a module's buffers, which are handles. Replacing or removing a buffer needs its slot, a private member; an
// explicit instantiation may name it.
Slots& slots_of(torch::nn::Module& module);
template <Slots torch::nn::Module::*member>
struct Access {
  friend Slots& slots_of(torch::nn::Module& module) { return module.*member; }
};
template struct Access<&torch::nn::Module::buffers_>;

bool same_form(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.device() == b.device();
}

}  // namespace

std::vector<BufferSlot> buffer_slots(torch::nn::Module& module) {
  std::vector<BufferSlot> found;
  const auto add = [&](const std::string& prefix, torch::nn::Module& part) {
    for (auto& item : slots_of(part)) found.push_back({prefix.empty() ? item.key() : prefix + "." + item.key(), &item.value()});
  };
  add("", module);
  for (const auto& item : module.named_modules("", /*include_self=*/false)) add(item.key(), *item.value());
  return found;
}

struct BufferGuard::Saved {
  std::string name;
  Tensor tensor, values;  // the handle, and a copy of what it held
};

BufferGuard::BufferGuard(torch::nn::Module& module) : module_(module), exceptions_(std::uncaught_exceptions()) {
  for (const auto& [name, slot] : buffer_slots(module))
    saved_.push_back({name, *slot, slot->defined() ? slot->detach().clone() : Tensor()});
}

BufferGuard::~BufferGuard() {
  if (std::uncaught_exceptions() == exceptions_) restore();
}

void BufferGuard::restore() {
  const at::NoGradGuard no_grad;
  for (const auto& [name, slot] : buffer_slots(module_)) {
    const auto found = std::ranges::find(saved_, name, &Saved::name);
    *slot = found == saved_.end() ? Tensor() : found->tensor;
    if (!slot->defined()) continue;
    // Through another version counter: a backward to come may have saved the buffer, as that of a batch norm does.
    if (const Tensor values = slot->variable_data(); same_form(values, found->values))
      values.copy_(found->values);
    else
      slot->set_data(found->values);
  }
}

}  // namespace levin
