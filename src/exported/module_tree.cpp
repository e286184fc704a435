#include "module_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/core/text.h"
#include "unit_patterns.h"

namespace levin::exported {
namespace {

struct Part : torch::nn::Module {
  using torch::nn::Module::Module;
};

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

}  // namespace

ModuleTree::ModuleTree(torch::nn::Module& root, const std::vector<Weight>& weights, const std::vector<std::string>& units, Classes classes,
                       Load load)
    : root_(root), weights_(weights), paths_(units), classes_(std::move(classes)), load_(std::move(load)), tensors_(weights.size()) {
  for (size_t i = 0; i < weights.size(); i++)
    if (weights[i].persistent) add(weights[i].name, i);
  for (size_t i = 0; i < weights.size(); i++)
    if (weights[i].persistent)
      for (const auto& alias : weights[i].aliases) add(alias, i);
  for (const auto& path : units) add_unit(path);  // those without weights
}

void ModuleTree::add(const std::string& name, size_t weight) {
  const auto unit = std::find_if(paths_.begin(), paths_.end(), [&](const auto& path) { return is_inside(name, path); });
  if (unit == paths_.end())
    put(root_, "", name, weight);
  else
    add_unit(*unit);
}

void ModuleTree::add_unit(const std::string& path) {
  if (units_.contains(path)) return;
  const std::string prefix = path + ".";
  const auto fill = [&](torch::nn::Module& unit) {
    for (size_t i = 0; i < weights_.size(); i++) {
      if (!weights_[i].persistent) continue;
      if (weights_[i].name.starts_with(prefix)) put(unit, path, weights_[i].name.substr(prefix.size()), i);
      for (const auto& alias : weights_[i].aliases)
        if (alias.starts_with(prefix)) put(unit, path, alias.substr(prefix.size()), i);
    }
  };
  const ExportedUnit unit(class_of(path), fill);
  units_.emplace(path, unit);
  parent_of(root_, "", path).register_module(last_part(path), unit.ptr());
}

void ModuleTree::put(torch::nn::Module& module, const std::string& path, const std::string& name, size_t weight) try {
  auto& parent = parent_of(module, path, name);
  if (weights_[weight].parameter)
    parent.register_parameter(last_part(name), tensor(weight), weights_[weight].requires_grad);
  else
    parent.register_buffer(last_part(name), tensor(weight));
} catch (const c10::Error& error) {
  throw DataError(fmt::format("the weight {} cannot be registered: {}", quote(name), error.what_without_backtrace()),
                  "export the model again", "exported");
}

// The module that holds the name's last part; modules on the way are made.
torch::nn::Module& ModuleTree::parent_of(torch::nn::Module& module, const std::string& path, const std::string& name) const {
  auto* parent = &module;
  std::string place = path;
  size_t begin = 0;
  for (auto dot = name.find('.'); dot != std::string::npos; begin = dot + 1, dot = name.find('.', begin)) {
    const std::string part = name.substr(begin, dot - begin);
    place += (place.empty() ? "" : ".") + part;
    const auto children = parent->named_children();
    const auto* known = children.find(part);
    parent = known ? known->get() : parent->register_module(part, std::make_shared<Part>(class_of(place))).get();
  }
  return *parent;
}

std::string ModuleTree::class_of(const std::string& path) const {
  const auto found = classes_.find(path);
  return found == classes_.end() ? "Module" : found->second;
}

const at::Tensor& ModuleTree::tensor(size_t weight) {
  auto& tensor = tensors_[weight];
  if (!tensor.defined()) tensor = load_(weights_[weight]);
  return tensor;
}

}  // namespace levin::exported
