#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "interpreter.h"
#include "levin/nn/unit.h"

namespace levin::exported {

/// The nodes of a call of a unit.
struct UnitProgram {
  Interpreter interpreter;
  std::vector<at::Tensor> changing;  ///< buffers that it reads and that the model writes
};

/// Inputs or outputs of a call: tensors and sizes.
struct UnitValues {
  std::vector<c10::IValue> items;
  const UnitProgram* program = nullptr;
  std::shared_ptr<std::vector<at::Tensor>> buffers = {};  ///< the values of `changing` before the first computation

  template <class Fn>
  void tensors(Fn&& fn) {
    for (auto& item : items)
      if (item.isTensor()) fn(item.toTensor());
  }
  template <class Fn>
  void tensors(Fn&& fn) const {
    for (const auto& item : items)
      if (item.isTensor()) fn(item.toTensor());
  }
};

/// A submodule of an exported model, with the parameters and buffers below its path.
class ExportedUnitImpl : public Unit<UnitValues(UnitValues)> {
 public:
  /// `name`: Python's class; `fill` registers parameters and buffers.
  ExportedUnitImpl(const std::string& name, const std::function<void(torch::nn::Module& unit)>& fill) : Unit(name) { fill(*this); }

 protected:
  UnitValues compute(UnitValues values) override;
};
LEVIN_UNIT(ExportedUnit);

}  // namespace levin::exported
