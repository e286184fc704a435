#include "unit_tree.h"

#include <algorithm>
#include <utility>

#include "levin/nn/unit.h"

namespace levin::detail {
namespace {

// The units around a place in the module, the root first.
using Path = std::vector<int>;

class Walk {
 public:
  explicit Walk(UnitTree& tree) : tree_(tree) {}

  void visit(torch::nn::Module& module, const std::string& name, Path path) {
    if (auto* unit = dynamic_cast<UnitBase*>(&module)) {
      auto known = std::find_if(tree_.units.begin(), tree_.units.end(), [&](const auto& node) { return node.unit == unit; });
      if (known == tree_.units.end()) known = tree_.units.insert(known, {name, unit, path.back()});
      path.push_back(static_cast<int>(known - tree_.units.begin()));
    }
    for (const auto& item : module.named_parameters(/*recurse=*/false)) {
      const void* tensor = item.value().unsafeGetTensorImpl();
      const auto [known, is_new] = paths_.try_emplace(tensor, path);
      if (is_new)
        numels_[tensor] = item.value().numel();
      else
        known->second.erase(std::mismatch(known->second.begin(), known->second.end(), path.begin(), path.end()).first, known->second.end());
    }
    for (const auto& child : module.named_children()) visit(*child.value(), name.empty() ? child.key() : name + "." + child.key(), path);
  }

  void finish() {
    for (const auto& [tensor, path] : paths_) {
      tree_.unit_of[tensor] = path.back();
      tree_.units[static_cast<size_t>(path.back())].numel += numels_[tensor];
    }
  }

 private:
  UnitTree& tree_;
  std::unordered_map<const void*, Path> paths_;
  std::unordered_map<const void*, int64_t> numels_;
};

}  // namespace

UnitTree::UnitTree(torch::nn::Module& module, int64_t min_num_params) {
  units.push_back({});
  Walk walk(*this);
  walk.visit(module, "", {0});
  walk.finish();
  const auto at = [this](int unit) -> Node& { return units[static_cast<size_t>(unit)]; };
  for (size_t i = units.size(); i-- > 1;) {  // nested units come after their parents
    auto& unit = units[i];
    const bool stays = unit.numel > 0 && unit.numel >= min_num_params;
    unit.becomes = stays ? static_cast<int>(i) : unit.parent;
    if (!stays) at(unit.parent).numel += std::exchange(unit.numel, 0);
  }
  for (size_t i = 1; i < units.size(); i++)
    if (units[i].becomes != static_cast<int>(i)) units[i].becomes = at(units[i].becomes).becomes;
  for (auto& [tensor, unit] : unit_of) unit = at(unit).becomes;
}

bool UnitTree::concerns(size_t other, size_t unit) const {
  if (unit == 0 || units[other].becomes == static_cast<int>(unit)) return true;
  for (size_t around = unit; around != 0; around = static_cast<size_t>(units[around].parent))
    if (around == other) return true;
  return false;
}

}  // namespace levin::detail
