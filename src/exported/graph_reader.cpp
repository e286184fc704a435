#include "graph_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "argument_reader.h"
#include "levin/core/text.h"
#include "node_text.h"
#include "value_table.h"

namespace levin::exported {
namespace {

/// The kind of an input or output by its name in the schema; empty for kinds without a value.
std::optional<ValueKind> value_kind(std::string_view kind) {
  if (kind == "as_tensor") return ValueKind::tensor;
  if (kind == "as_sym_int") return ValueKind::integer;
  if (kind == "as_sym_float") return ValueKind::floating;
  if (kind == "as_sym_bool") return ValueKind::boolean;
  return {};
}

/// "KEY,PATH,TYPE;KEY,PATH,TYPE": an entry for each nn.Module around the call.
std::vector<ModuleCall> module_calls(std::string_view stack) {
  std::vector<ModuleCall> result;
  while (!stack.empty()) {
    const auto entry = stack.substr(0, stack.find(';'));
    stack.remove_prefix(std::min(stack.size(), entry.size() + 1));
    const auto first = entry.find(','), second = first == std::string_view::npos ? first : entry.find(',', first + 1);
    if (second == std::string_view::npos || entry.starts_with("_empty_nn_module_stack")) continue;
    result.push_back({std::string(entry.substr(0, first)), std::string(entry.substr(first + 1, second - first - 1)),
                      std::string(entry.substr(second + 1))});
  }
  return result;
}

constexpr size_t longest_text = 500;  ///< of a node in a message

class GraphReader {
 public:
  GraphReader(const JsonPlace& json, SymbolTable& symbols) : json_(json), values_(json, symbols) {}

  std::shared_ptr<const Graph> read(const std::string& name) {
    json_.only({"inputs", "outputs", "nodes", "tensor_values", "sym_int_values", "sym_bool_values", "is_single_tensor_return",
                "custom_obj_values", "sym_float_values"});
    if (const auto objects = json_.find("custom_obj_values"); objects && objects->size() > 0)
      objects->unusable("has objects of Python classes", "write the model with tensors only");
    auto graph = std::make_shared<Graph>();
    graph->name = name;
    for (const auto& input : json_.member("inputs").items()) graph->inputs.push_back(read_input(input));
    for (const auto& node : json_.member("nodes").items()) graph->nodes.push_back(read_node(node));
    const ArgumentReader outputs(values_, fmt::format("output of the graph {}", quote(name)));
    for (const auto& output : json_.member("outputs").items()) graph->outputs.push_back(outputs.read_output(output));
    graph->values = values_.take();
    return graph;
  }

 private:
  Slot define(const JsonPlace& value, ValueKind kind) {
    if (kind == ValueKind::tensor) {
      value.only({"name"});
      return values_.define(value.member("name"), kind);
    }
    const auto [form, name] = value.choice();
    if (form != "as_name") value.refuse("is a number where the name of a value is expected");
    return values_.define(name, kind);
  }

  /// A constant of the example is an input, too, which the graph does not read.
  Slot read_input(const JsonPlace& json) {
    const auto [kind, value] = json.choice();
    if (const auto known = value_kind(kind); known && (known == ValueKind::tensor || value.choice().first == "as_name"))
      return define(value, *known);
    if (value_kind(kind) || kind == "as_int" || kind == "as_float" || kind == "as_bool" || kind == "as_string" || kind == "as_none")
      return values_.define_unnamed();
    json.unusable(fmt::format("is an input of kind {}, which Levin does not run", quote(kind)), "give the model tensors only");
  }

  NodeOutput read_output(const JsonPlace& json, const std::string& node) {
    const auto [kind, value] = json.choice();
    if (const auto known = value_kind(kind)) return {false, {define(value, *known)}};
    if (kind == "as_none") return {false, {no_slot}};
    NodeOutput result;
    if (kind == "as_optional_tensor") {
      const auto [form, tensor] = value.choice();
      result.slots = {form == "as_tensor" ? define(tensor, ValueKind::tensor) : no_slot};
      if (form != "as_tensor" && form != "as_none") value.refuse("is neither a tensor nor none");
      return result;
    }
    result.list = true;
    if (kind == "as_tensors") {
      for (const auto& tensor : value.items()) result.slots.push_back(define(tensor, ValueKind::tensor));
      return result;
    }
    json.unusable(fmt::format("is of kind {}, which Levin does not run: {}", quote(kind), node),
                  "write this part of the model with ordinary operators");
  }

  Node read_node(const JsonPlace& json) {
    json.only({"target", "inputs", "outputs", "metadata", "is_hop_single_tensor_return", "name"});
    Node node;
    node.target = json.member("target").name();
    const auto name = json.find("name");
    node.name = name ? name->name() : node.target;
    const auto metadata = json.member("metadata");
    if (const auto trace = metadata.find("stack_trace")) node.source = trace->text();
    if (const auto stack = metadata.find("nn_module_stack")) node.modules = module_calls(stack->text());
    const auto text = NodeText(node).describe().substr(0, longest_text);
    const ArgumentReader arguments(values_, text);
    std::set<std::string_view> names;
    for (const auto& input : json.member("inputs").items()) {
      input.only({"name", "arg", "kind"});
      const auto& argument_name = input.member("name").text();
      if (!argument_name.empty() && !names.insert(argument_name).second) input.refuse(fmt::format("gives {} again", quote(argument_name)));
      Argument argument{argument_name, false, arguments.read(input.member("arg"))};
      constexpr int64_t positional = 1, keyword = 2;
      if (const auto kind = input.find("kind")) argument.keyword = kind->integer(positional, keyword) == keyword;
      node.arguments.push_back(std::move(argument));
    }
    for (const auto& output : json.member("outputs").items()) node.outputs.push_back(read_output(output, text));
    return node;
  }

  JsonPlace json_;
  ValueTable values_;
};

}  // namespace

std::shared_ptr<const Graph> read_graph(const JsonPlace& json, const std::string& name, SymbolTable& symbols) {
  return GraphReader(json, symbols).read(name);
}

}  // namespace levin::exported
