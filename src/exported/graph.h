#pragma once
// A validated graph of torch.export: the reader has checked all that these comments state.
#include <c10/core/Device.h>
#include <c10/core/Layout.h>
#include <c10/core/MemoryFormat.h>
#include <c10/core/ScalarType.h>

#include <complex>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace levin::exported {

/// One size or stride of a tensor: factor * symbol + offset. A fixed size has no symbol. Where Python's expression is not linear in one
/// symbol, `expression` alone is set.
struct Size {
  int64_t offset = 0, factor = 0;
  int symbol = -1;         ///< index in Program::symbols
  std::string expression;  ///< as Python writes it; empty: a fixed size
  bool fixed() const noexcept { return expression.empty(); }
  bool linear() const noexcept { return fixed() || symbol >= 0; }
};

struct TensorMeta {
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<Size> sizes;  ///< at most 64
  bool requires_grad = false;
  c10::Layout layout = c10::Layout::Strided;
};

enum class ValueKind : uint8_t {
  tensor,
  integer,  ///< a size: a number that is known when the program runs
  floating,
  boolean,
  nothing,  ///< an input that is a constant of the example, and that no node reads
};

/// A value of a graph. Its slot is its index in Graph::values.
struct Value {
  std::string name;  ///< unique in its graph
  ValueKind kind = ValueKind::tensor;
  std::optional<TensorMeta> meta;  ///< of tensors that the archive describes
};

using Slot = int32_t;
constexpr Slot no_slot = -1;
struct SlotRef {
  Slot slot = no_slot;  ///< of an earlier value
};

/// An argument: no value, a number, a text, a property of tensors, or a value of the graph.
using Item = std::variant<std::monostate, int64_t, double, bool, std::complex<double>, std::string, c10::ScalarType, c10::Device,
                          c10::Layout, c10::MemoryFormat, SlotRef>;

enum class ListKind : uint8_t { integers, floats, booleans, strings, tensors, optional_tensors };
/// Items of one kind. Lists of numbers may have values of the graph among them; optional tensors may have monostate. An empty list may say
/// `integers` whatever the operator wants.
struct List {
  ListKind kind = ListKind::integers;
  std::vector<Item> items;
};

struct Graph;
struct Argument {
  std::string name;  ///< of the operator's schema; empty for operators without one
  bool keyword = false;
  std::variant<Item, List, std::shared_ptr<const Graph>> value;
};

/// A result of a node: a value, or a list of tensors.
struct NodeOutput {
  bool list = false;
  std::vector<Slot> slots;  ///< one unless `list`; no_slot: None
};

/// One level of nn_module_stack.
struct ModuleCall {
  std::string key;   ///< distinguishes repeated calls of one module
  std::string path;  ///< of the module, such as "blocks.0"; empty: the model
  std::string type;  ///< Python's class
};

struct Node {
  std::string name;    ///< for messages
  std::string target;  ///< such as "torch.ops.aten.addmm.default" or "_operator.add"
  std::vector<Argument> arguments;
  std::vector<NodeOutput> outputs;
  std::vector<ModuleCall> modules;  ///< the outermost first
  std::string source;               ///< Python's stack trace, the innermost call last; empty if the archive has none
};

struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Slot> inputs;
  std::vector<Node> nodes;  ///< each value has one node or input, before all nodes that read it
  std::vector<std::variant<Item, List>> outputs;
};

}  // namespace levin::exported
