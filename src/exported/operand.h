#pragma once
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "graph.h"
#include "placement.h"

namespace levin::exported {

using c10::IValue;
using Stack = std::vector<IValue>;
/// Of a running graph, by slot.
using Values = std::vector<IValue>;

/// An argument of a call, prepared before the first run as far as it can be.
struct Operand {
  enum class Kind : uint8_t {
    constant,
    value,             ///< of a slot
    tensor_of_number,  ///< a number of a slot where the operator wants a tensor
    float_of_number,
    integers,  ///< lists, made of `items` in every run
    floats,
    booleans,
    tensors,
    optional_tensors,
    spread,  ///< the items one after the other, for functions without a schema
  };
  struct Element {
    Slot slot = no_slot;
    IValue constant = {};
  };

  Kind kind = Kind::constant;
  bool last = false;  ///< of a value: its last use, which moves it
  Slot slot = no_slot;
  IValue constant = {};
  std::vector<Element> items = {};
  std::optional<c10::ScalarType> dtype = {};  ///< the constant is this dtype, which follows the module's
  bool device = false;                        ///< the constant is a device, which follows the module's

  void push(Stack& stack, Values& values) const;
  void place(const Placement& placement);
  template <class Fn>
  void for_each_slot(Fn&& fn) const {
    if (slot != no_slot) fn(slot);
    for (const auto& item : items)
      if (item.slot != no_slot) fn(item.slot);
  }
};

/// `type`: of the operator's argument, which has `length` (int[2]); null for functions without a schema. Refused for a value of another
/// type.
Operand make_operand(const Graph& graph, const Argument& argument, const c10::Type* type, int32_t length = 0);
Operand make_operand(const Graph& graph, const std::variant<Item, List>& value);
/// Whether a number, or a tensor that is one, is the largest, the least or the smallest normal number of a floating-point dtype: a model
/// writes torch.finfo(x.dtype).min, and its graph has the number of the dtype in which it was exported.
bool is_limit(const IValue& value);
/// Such a number, or where a narrower dtype cannot represent it, that dtype's limit.
IValue limit_within(const IValue& value, c10::ScalarType dtype);

/// The operand of an argument that is not given.
Operand constant_operand(IValue value);

}  // namespace levin::exported
