#include "module_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::exported {
namespace {

struct Part : torch::nn::Module {};

// The child of that name, made where there is none.
torch::nn::Module& child_of(torch::nn::Module& module, const std::string& name) {
  const auto children = module.named_children();
  if (const auto* known = children.find(name)) return **known;
  return *module.register_module(name, std::make_shared<Part>());
}

// The module that holds a path's last part.
torch::nn::Module& parent_of(torch::nn::Module& root, const std::string& path) {
  auto* module = &root;
  size_t begin = 0;
  for (auto dot = path.find('.'); dot != std::string::npos; begin = dot + 1, dot = path.find('.', begin))
    module = &child_of(*module, path.substr(begin, dot - begin));
  return *module;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

}  // namespace

ModuleTree::ModuleTree(torch::nn::Module& root, const std::vector<Weight>& weights, const std::vector<std::string>& units, Load load)
    : root_(root), weights_(weights), paths_(units), load_(std::move(load)), tensors_(weights.size()) {
  for (size_t i = 0; i < weights.size(); i++)
    if (weights[i].persistent) add(weights[i].name, i);
  for (size_t i = 0; i < weights.size(); i++)
    if (weights[i].persistent)
      for (const auto& alias : weights[i].aliases) add(alias, i);
  for (const auto& path : units)  // those without weights
    if (!units_.contains(path)) {
      units_.emplace(path, ExportedUnit([](torch::nn::Module&) {}));
      parent_of(root_, path).register_module(last_part(path), units_.at(path).ptr());
    }
}

void ModuleTree::add(const std::string& name, size_t weight) {
  const auto unit = std::find_if(paths_.begin(), paths_.end(), [&](const auto& path) { return name.starts_with(path + "."); });
  if (unit == paths_.end()) return put(root_, name, weight);
  if (units_.contains(*unit)) return;
  units_.emplace(*unit, ExportedUnit([&](torch::nn::Module& module) { fill(module, *unit + "."); }));
  parent_of(root_, *unit).register_module(last_part(*unit), units_.at(*unit).ptr());
}

void ModuleTree::fill(torch::nn::Module& unit, const std::string& path) {
  for (size_t i = 0; i < weights_.size(); i++) {
    if (!weights_[i].persistent) continue;
    if (weights_[i].name.starts_with(path)) put(unit, weights_[i].name.substr(path.size()), i);
    for (const auto& alias : weights_[i].aliases)
      if (alias.starts_with(path)) put(unit, alias.substr(path.size()), i);
  }
}

void ModuleTree::put(torch::nn::Module& module, const std::string& name, size_t weight) try {
  auto& parent = parent_of(module, name);
  if (weights_[weight].parameter)
    parent.register_parameter(last_part(name), tensor(weight), weights_[weight].requires_grad);
  else
    parent.register_buffer(last_part(name), tensor(weight));
} catch (const c10::Error& error) {
  throw DataError(fmt::format("the weight {} cannot be registered: {}", quote(name), error.what_without_backtrace()),
                  "export the model again", "exported");
}

const at::Tensor& ModuleTree::tensor(size_t weight) {
  auto& tensor = tensors_[weight];
  if (!tensor.defined()) tensor = load_(weights_[weight]);
  return tensor;
}

}  // namespace levin::exported
