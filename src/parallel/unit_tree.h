#pragma once
#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin {
class UnitBase;
}

namespace levin::detail {

/// Which unit each parameter belongs to: the innermost that registered it; one of several units to the nearest that holds them all; the
/// rest to the root unit, number 0.
struct UnitTree {
  struct Node {
    std::string name;  ///< "blocks.3"
    UnitBase* unit = nullptr;
    int parent = 0;
    int64_t numel = 0;  ///< of its parameters, without nested units
    int becomes = 0;    ///< itself, or the unit that its parameters belong to
  };
  /// Units with fewer than `min_num_params` parameters, those of dissolved units included, are dissolved into their parent.
  UnitTree(torch::nn::Module& module, int64_t min_num_params);
  UnitTree() = default;

  /// Whether what `other` does concerns the parameters of `unit`: it is in it, or around it.
  bool concerns(size_t other, size_t unit) const;

  std::vector<Node> units;                       ///< in the module's order, the root first
  std::unordered_map<const void*, int> unit_of;  ///< by the parameter's TensorImpl
};

}  // namespace levin::detail
