#include "program_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "levin/core/error.h"
#include "node_text.h"
#include "node_use.h"

namespace levin::exported {
namespace {

template <class T>
const T* value_of(const Node& node, std::string_view name) {
  const auto found =
      std::find_if(node.arguments.begin(), node.arguments.end(), [&](const auto& argument) { return argument.name == name; });
  const auto* item = found == node.arguments.end() ? nullptr : std::get_if<Item>(&found->value);
  return item ? std::get_if<T>(item) : nullptr;
}

bool is_on(const Node& node, std::string_view flag) {
  const auto* value = value_of<bool>(node, flag);
  return value && *value;
}
bool is_positive(const Node& node, std::string_view name) {
  const auto* value = value_of<double>(node, name);
  return value && *value > 0;
}

bool acts_as_in_training(const Node& node) {
  if (!node.target.starts_with("torch.ops.aten.")) return false;
  if (is_positive(node, "dropout_p")) return true;
  if (is_on(node, "train")) return is_positive(node, "p") || is_positive(node, "dropout");  // dropout; lstm, gru, rnn
  const bool statistics = value_of<SlotRef>(node, "running_mean") != nullptr;
  if (is_on(node, "use_input_stats")) return statistics;
  return is_on(node, "training") && (statistics || value_of<SlotRef>(node, "noise") || node.target.find("rrelu") != std::string::npos);
}

}  // namespace

std::set<Slot> check_writes(const Program& program, const std::vector<Weight>& weights) {
  std::map<Slot, const Input*> inputs;
  for (const auto& input : program.inputs) inputs[input.slot] = &input;
  const SharedMemory memory(program.graph);
  std::set<Slot> changed;
  for (size_t i = 0; i < program.graph.nodes.size(); i++)
    for (const Slot slot : memory.uses()[i].writes)
      for (const Slot origin : memory.origins(slot)) {
        const auto found = inputs.find(origin);
        if (found == inputs.end()) continue;
        const auto& input = *found->second;
        const auto refuse = [&](const char* kind, const char* why, const char* remedy) {
          throw ConfigError(fmt::format("the model changes its {} {} in forward, which {}, in {}", kind, input.name, why,
                                        NodeText(program.graph.nodes[i]).describe()),
                            remedy, "exported");
        };
        if (input.kind == InputKind::user) changed.insert(origin);
        if (input.kind == InputKind::parameter) refuse("parameter", "optimizers alone may do", "change a copy, or write it as a buffer");
        if (input.kind == InputKind::constant ||
            (input.kind == InputKind::buffer && !weights[static_cast<size_t>(input.weight)].persistent))
          refuse("tensor", "no checkpoint would have", "register it as a buffer with persistent=True");
      }
  for (const auto& output : program.outputs)
    if (output.kind == OutputKind::input_mutation)
      throw ConfigError(fmt::format("the model changes its input {} in forward", output.name), "change a copy of it", "exported");
  return changed;
}

const Node* training_node(const Graph& graph) {
  for (const auto& node : graph.nodes) {
    if (acts_as_in_training(node)) return &node;
    for (const auto& argument : node.arguments)
      if (const auto* inner = std::get_if<std::shared_ptr<const Graph>>(&argument.value))
        if (const auto* found = training_node(**inner)) return found;
  }
  return nullptr;
}

}  // namespace levin::exported
