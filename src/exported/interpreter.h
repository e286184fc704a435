#pragma once
#include <ATen/core/dispatch/Dispatcher.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "call_checks.h"
#include "graph.h"
#include "node_text.h"
#include "operand.h"
#include "placement.h"
#include "size_functions.h"

namespace levin::exported {

/// The target of nodes that the cut into units puts into a graph: argument 0 is the call's number, the others are its inputs.
inline constexpr const char* unit_target = "levin.unit";
/// Returns the function that runs the call of that number.
using UnitLinker = std::function<Function(size_t call)>;

/// Runs a graph through LibTorch's dispatcher, with autograd where it is enabled. All operators are found, and arguments are prepared, in
/// the constructor. A value is released after its last use.
class Interpreter {
 public:
  /// An input of the graph that is the same in all calls: a parameter or a buffer, which the engine may move, or a constant, which follows
  /// the placement.
  struct Binding {
    Slot slot = no_slot;
    at::Tensor tensor;
    bool constant = false;
  };

  /// ConfigError, with the node's line in Python, for an operator that this LibTorch lacks, may not run, or has no such argument.
  explicit Interpreter(const Graph& graph, std::vector<Binding> bindings = {}, const UnitLinker& link_unit = {});

  /// `inputs` are those of the graph that are not bound, in their order. Returns its outputs, the items of lists one after the other.
  /// Errors of an operator, with its line in Python, are those of refuse_call.
  Stack call(Stack inputs) const;

  /// Before the first call: moves constants, dtypes and devices.
  void place(const Placement& placement);
  const Placement& placement() const noexcept { return placement_; }

 private:
  struct Instruction {
    NodeText text;
    std::optional<c10::OperatorHandle> op;
    Function function;  ///< without an operator
    CallCheck check = nullptr;
    std::vector<Operand> operands;
    std::vector<NodeOutput> outputs;
    bool flat = false;           ///< results are those of the outputs one after the other, lists or not
    std::vector<Slot> frees;     ///< read here for the last time, and not moved
    std::vector<size_t> limits;  ///< operands that are limits of a dtype
    std::vector<std::shared_ptr<Interpreter>> inner;
  };

  Instruction compile(const Graph& graph, const Node& node, const UnitLinker& link_unit) const;
  void compile_operator(Instruction& instruction, const Graph& graph, const Node& node) const;
  void find_last_uses();
  void run(Values& values) const;
  void call_operator(const Instruction& instruction, Stack& stack) const;
  static void store(const Instruction& instruction, Stack& stack, Values& values);

  size_t size_ = 0;           ///< of the graph's values
  std::vector<Slot> inputs_;  ///< without the bound ones
  std::vector<Binding> bindings_;
  std::vector<IValue> bound_;  ///< in the order of the bindings
  std::vector<Instruction> instructions_;
  std::vector<Operand> outputs_;
  Placement placement_;
  bool default_dtype_moves_ = false;  ///< floating-point results of integers get another dtype
};

}  // namespace levin::exported
