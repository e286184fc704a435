// The constructor of Interpreter: a graph becomes instructions.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "higher_order.h"
#include "interpreter.h"
#include "operators.h"

namespace levin::exported {
namespace {

// It compares dtypes and devices with those of the export; here they follow the module.
constexpr const char* metadata_check = "torch.ops.aten._assert_tensor_metadata.default";
constexpr const char* copy_into = "torch.ops.aten.copy_.default";

// copy_, also of a buffer that was changed in place and is then assigned to itself: a copy would give it a new version, which a backward
// that has saved it refuses.
void copy_unless_same(Stack& stack) {
  TORCH_CHECK(stack.size() >= 2, "copy_ has too few arguments");
  const at::Tensor target = stack[0].toTensor(), source = stack[1].toTensor();
  if (!target.is_same(source)) target.copy_(source);
  stack = {target};
}

// The flag of nn.Embedding(sparse=True) and gather(sparse_grad=True). It changes the layout of a gradient, which is dense in Levin.
bool is_sparse_gradient_flag(const c10::Argument& argument) { return argument.name() == "sparse" || argument.name() == "sparse_grad"; }

// A function that makes a tensor without one to take the dtype and device from.
void place_factory(std::vector<Operand>& operands, const c10::FunctionSchema& schema, const Graph& graph, const Node& node) {
  const auto takes_tensors = [](const c10::Argument& argument) { return argument.type()->str().find("Tensor") != std::string::npos; };
  const auto& arguments = schema.arguments();
  if (std::any_of(arguments.begin(), arguments.end(), takes_tensors) || node.outputs.size() != 1 || node.outputs[0].slots.size() != 1)
    return;
  const Slot made = node.outputs[0].slots[0];
  for (size_t i = 0; i < arguments.size(); i++) {
    if (!operands[i].constant.isNone() || operands[i].kind != Operand::Kind::constant) continue;
    if (arguments[i].name() == "device") operands[i].device = true;
    if (arguments[i].name() == "dtype" && made != no_slot)
      if (const auto& meta = graph.values[static_cast<size_t>(made)].meta; meta && meta->dtype != c10::ScalarType::Undefined)
        operands[i].dtype = meta->dtype;  // Python's default dtype
  }
}

}  // namespace

Interpreter::Interpreter(const Graph& graph, std::vector<Binding> bindings, const UnitLinker& link_unit)
    : size_(graph.values.size()), bindings_(std::move(bindings)) {
  std::set<Slot> bound;
  for (const auto& binding : bindings_) {
    bound.insert(binding.slot);
    bound_.emplace_back(binding.tensor);
  }
  for (const Slot slot : graph.inputs)
    if (!bound.contains(slot)) inputs_.push_back(slot);
  for (const auto& node : graph.nodes) {
    if (node.target == metadata_check) continue;
    instructions_.push_back(at_node(node, [&] { return compile(graph, node, link_unit); }));
  }
  for (const auto& output : graph.outputs) outputs_.push_back(make_operand(graph, output));
  find_last_uses();
}

Interpreter::Instruction Interpreter::compile(const Graph& graph, const Node& node, const UnitLinker& link_unit) const {
  Instruction instruction{
      .text = NodeText(node), .op = {}, .function = {}, .operands = {}, .outputs = node.outputs, .frees = {}, .limits = {}, .inner = {}};
  const auto take_arguments = [&](size_t first) {
    for (size_t i = first; i < node.arguments.size(); i++) instruction.operands.push_back(make_operand(graph, node.arguments[i], nullptr));
  };
  if (const auto* function = size_function(node.target)) {
    instruction.function = *function;
    take_arguments(0);
  } else if (node.target == copy_into) {
    instruction.function = copy_unless_same;
    take_arguments(0);
  } else if (node.target == unit_target && link_unit) {
    instruction.function = link_unit(static_cast<size_t>(std::get<int64_t>(std::get<Item>(node.arguments.at(0).value))));
    instruction.flat = true;
    take_arguments(1);
  } else if (is_higher_order(node.target)) {
    auto compiled = compile_higher_order(node);
    instruction.function = std::move(compiled.function);
    instruction.inner = std::move(compiled.graphs);
    instruction.flat = true;
    for (const auto* operand : compiled.operands) instruction.operands.push_back(make_operand(graph, *operand, nullptr));
  } else if (is_operator(node.target)) {
    compile_operator(instruction, graph, node);
  } else {
    throw Refused(fmt::format("the function {} cannot run without Python", node.target),
                  "write the model with PyTorch's functions of tensors");
  }
  return instruction;
}

void Interpreter::compile_operator(Instruction& instruction, const Graph& graph, const Node& node) const {
  instruction.op = find_operator(node.target);
  const auto& schema = instruction.op->schema();
  instruction.check = call_check(schema.name().substr(std::string_view("aten::").size()));
  const auto given = match_arguments(schema, node);
  for (size_t i = 0; i < given.size(); i++) {
    const auto& argument = schema.arguments()[i];
    if (given[i])  // by the real type: a number in place of a dtype would be read as one without a check
      instruction.operands.push_back(make_operand(graph, *given[i], argument.real_type().get(), argument.N().value_or(0)));
    else
      instruction.operands.push_back(constant_operand(argument.default_value().value_or(IValue())));
    if (is_sparse_gradient_flag(argument)) instruction.operands.back() = constant_operand(false);
    if (is_limit(instruction.operands.back().constant)) instruction.limits.push_back(i);
  }
  const auto is_used = [](const NodeOutput& output) { return output.list || (!output.slots.empty() && output.slots[0] != no_slot); };
  const auto used = static_cast<size_t>(std::count_if(node.outputs.begin(), node.outputs.end(), is_used));
  if (used > schema.returns().size())
    throw Refused(fmt::format("the graph takes {} values from an operator that returns {}", used, schema.returns().size()),
                  "export the model again");
  place_factory(instruction.operands, schema, graph, node);
}

void Interpreter::find_last_uses() {
  std::set<Slot> later;
  const auto finish = [&](std::vector<Operand>& operands) {
    std::map<Slot, std::vector<Operand*>> uses;
    for (auto& operand : operands) operand.for_each_slot([&](Slot slot) { uses[slot].push_back(&operand); });
    std::vector<Slot> frees;
    for (const auto& [slot, readers] : uses) {
      if (!later.insert(slot).second) continue;
      if (readers.size() == 1 && readers[0]->kind == Operand::Kind::value)
        readers[0]->last = true;
      else
        frees.push_back(slot);
    }
    return frees;
  };
  finish(outputs_);
  for (auto instruction = instructions_.rbegin(); instruction != instructions_.rend(); ++instruction) {
    for (auto& output : instruction->outputs)
      for (Slot& slot : output.slots)
        if (slot != no_slot && !later.contains(slot)) slot = no_slot;
    instruction->frees = finish(instruction->operands);
  }
}

}  // namespace levin::exported
