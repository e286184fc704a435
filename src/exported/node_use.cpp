#include "node_use.h"

#include "node_text.h"
#include "operators.h"

namespace levin::exported {
namespace {

void append_slots(std::vector<Slot>& slots, const Item& item) {
  if (const auto* ref = std::get_if<SlotRef>(&item)) slots.push_back(ref->slot);
}
void append_slots(std::vector<Slot>& slots, const List& list) {
  for (const auto& item : list.items) append_slots(slots, item);
}
void append_slots(std::vector<Slot>& slots, const Argument& argument) {
  if (const auto* item = std::get_if<Item>(&argument.value)) append_slots(slots, *item);
  if (const auto* list = std::get_if<List>(&argument.value)) append_slots(slots, *list);
}

// The slots of positional arguments, no_slot for constants.
std::vector<Slot> operands_of(const Node& node) {
  std::vector<Slot> operands;
  const auto add = [&](const Item& item) {
    const auto* ref = std::get_if<SlotRef>(&item);
    operands.push_back(ref ? ref->slot : no_slot);
  };
  for (const auto& argument : node.arguments) {
    if (argument.keyword) continue;
    if (const auto* item = std::get_if<Item>(&argument.value)) add(*item);
    if (const auto* list = std::get_if<List>(&argument.value))
      for (const auto& item : list->items) add(item);
  }
  return operands;
}

// The operands of a higher-order operator are its last arguments, and the inputs of its graphs.
void add_writes_of_graphs(NodeUse& use, const Node& node) {
  const auto operands = operands_of(node);
  for (const auto& argument : node.arguments) {
    const auto* graph = std::get_if<std::shared_ptr<const Graph>>(&argument.value);
    if (!graph || (*graph)->inputs.size() > operands.size()) continue;
    const size_t first = operands.size() - (*graph)->inputs.size();
    for (const size_t input : written_inputs(**graph))
      if (operands[first + input] != no_slot) use.writes.push_back(operands[first + input]);
  }
}

}  // namespace

void append_slots(std::vector<Slot>& slots, const std::variant<Item, List>& value) {
  std::visit([&](const auto& content) { append_slots(slots, content); }, value);
}

std::vector<Slot> slots_made_by(const Node& node) {
  std::vector<Slot> made;
  for (const auto& output : node.outputs)
    for (const Slot slot : output.slots)
      if (slot != no_slot) made.push_back(slot);
  return made;
}

NodeUse use_of(const Node& node) {
  NodeUse use;
  for (const auto& argument : node.arguments) append_slots(use.reads, argument);
  if (!is_operator(node.target)) {
    add_writes_of_graphs(use, node);
    use.returned = use.reads;
    return use;
  }
  if (node.target.starts_with("torch.ops.aten.sym_")) return use;
  at_node(node, [&] {
    const auto op = find_operator(node.target);
    const auto given = match_arguments(op.schema(), node);
    const auto effects = effects_of(op.schema(), given);
    for (const size_t i : effects.written)
      if (given[i]) append_slots(use.writes, *given[i]);
    for (const size_t i : effects.returned)
      if (given[i]) append_slots(use.returned, *given[i]);
  });
  return use;
}

SharedMemory::SharedMemory(const Graph& graph) : origins_(graph.values.size()) {
  for (const Slot slot : graph.inputs) origins_[static_cast<size_t>(slot)] = {slot};
  for (const auto& node : graph.nodes) {
    const auto& use = uses_.emplace_back(use_of(node));
    for (const Slot made : slots_made_by(node)) {
      auto& origins = origins_[static_cast<size_t>(made)];
      origins = {made};
      for (const Slot slot : use.returned) origins.insert(this->origins(slot).begin(), this->origins(slot).end());
    }
  }
}

std::set<Slot> SharedMemory::written() const {
  std::set<Slot> found;
  for (const auto& use : uses_)
    for (const Slot slot : use.writes) found.insert(origins(slot).begin(), origins(slot).end());
  return found;
}

std::set<size_t> written_inputs(const Graph& graph) {
  const auto written = SharedMemory(graph).written();
  std::set<size_t> found;
  for (size_t i = 0; i < graph.inputs.size(); i++)
    if (written.contains(graph.inputs[i])) found.insert(i);
  return found;
}

}  // namespace levin::exported
