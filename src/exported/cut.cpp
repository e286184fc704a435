#include "cut.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "interpreter.h"
#include "node_text.h"
#include "node_use.h"
#include "unit_patterns.h"

namespace levin::exported {
namespace {

struct Range {
  const ModuleCall* call = nullptr;
  size_t begin = 0, end = 0;
};

// Renumbers the values of a range of nodes.
class Outline {
 public:
  explicit Outline(const Graph& outer) : outer_(outer) {}

  Slot inner(Slot slot) {
    if (slot == no_slot) return slot;
    const auto [known, is_new] = slots_.try_emplace(slot, static_cast<Slot>(graph.values.size()));
    if (is_new) graph.values.push_back(outer_.values[static_cast<size_t>(slot)]);
    return known->second;
  }
  void add(Node node) {
    for (auto& argument : node.arguments) {
      if (auto* item = std::get_if<Item>(&argument.value)) renumber(*item);
      if (auto* list = std::get_if<List>(&argument.value))
        for (auto& item : list->items) renumber(item);
    }
    for (auto& output : node.outputs)
      for (Slot& slot : output.slots) slot = inner(slot);
    graph.nodes.push_back(std::move(node));
  }

  Graph graph;

 private:
  void renumber(Item& item) {
    if (auto* ref = std::get_if<SlotRef>(&item)) ref->slot = inner(ref->slot);
  }
  const Graph& outer_;
  std::map<Slot, Slot> slots_;
};

class Cutter {
 public:
  Cutter(const Program& program, const std::vector<Weight>& weights, const std::vector<std::string>& units)
      : graph_(program.graph), units_(units), memory_(program.graph), uses_(memory_.uses()), written_(memory_.written()) {
    for (const auto& input : program.inputs) {
      if (input.kind == InputKind::user || input.kind == InputKind::literal) continue;
      bound_.insert(input.slot);
      if (input.kind == InputKind::parameter) parameters_[input.slot] = &weights[static_cast<size_t>(input.weight)];
    }
  }

  Cut cut() {
    find_ranges();
    for (const auto& range : ranges_) check_inputs(range);
    check_subgraphs();
    check_parameters();
    if (result_.problems.empty()) build();
    return std::move(result_);
  }

 private:
  // The outermost unit around a node.
  const ModuleCall* unit_of(const Node& node) const {
    for (const auto& module : node.modules)
      if (std::find(units_.begin(), units_.end(), module.path) != units_.end()) return &module;
    return nullptr;
  }
  void report(const std::string& unit, const std::string& problem) { result_.problems.emplace(unit, problem); }

  void find_ranges() {
    std::set<std::string> finished;
    const auto same = [&](const Node& node, const ModuleCall& call) {
      const auto* unit = unit_of(node);
      return unit && unit->key == call.key && unit->path == call.path;
    };
    for (size_t i = 0; i < graph_.nodes.size();) {
      const auto* call = unit_of(graph_.nodes[i]);
      if (!call) {
        i++;
        continue;
      }
      Range range{call, i, i + 1};
      for (size_t next = i + 1; next < graph_.nodes.size(); next++) {
        const auto& node = graph_.nodes[next];
        if (same(node, *call))
          range.end = next + 1;
        else if (!node.modules.empty())  // computations with sizes belong to no module
          break;
      }
      if (!finished.insert(call->path + '\n' + call->key).second)
        report(call->path, fmt::format("other modules run between the parts of a call; its second part begins with {}",
                                       NodeText(graph_.nodes[i]).describe()));
      i = range.end;
      ranges_.push_back(range);
    }
  }

  std::set<Slot> made_in(const Range& range) const {
    std::set<Slot> made;
    for (size_t i = range.begin; i < range.end; i++)
      for (const Slot slot : slots_made_by(graph_.nodes[i])) made.insert(slot);
    return made;
  }

  void check_inputs(const Range& range) {
    const auto made = made_in(range);
    for (size_t i = range.begin; i < range.end; i++)
      for (const Slot slot : uses_[i].writes)
        for (const Slot origin : memory_.origins(slot))
          if (!made.contains(origin) && !bound_.contains(origin))
            report(range.call->path, fmt::format("it changes its input in place, in {}", NodeText(graph_.nodes[i]).describe()));
  }

  // Calls inside the graph of a higher-order operator.
  void check_subgraphs() {
    for (const auto& node : graph_.nodes) {
      if (unit_of(node)) continue;
      for (const auto& argument : node.arguments)
        if (const auto* inner = std::get_if<std::shared_ptr<const Graph>>(&argument.value))
          for (const auto& part : (*inner)->nodes)
            if (const auto* unit = unit_of(part)) report(unit->path, fmt::format("it is called inside {}", NodeText(node).describe()));
    }
  }

  // The engine has a unit's parameters while the unit runs.
  void check_parameters() {
    std::vector<const Range*> range_of(graph_.nodes.size(), nullptr);
    for (const auto& range : ranges_)
      std::fill(range_of.begin() + static_cast<long>(range.begin), range_of.begin() + static_cast<long>(range.end), &range);
    for (size_t i = 0; i < graph_.nodes.size(); i++)
      for (const Slot slot : uses_[i].reads) {
        const auto* unit = owner(slot);
        if (unit && !(range_of[i] && range_of[i]->call->path == *unit))
          report(*unit, fmt::format("its parameter {} is read outside of it, by {}", parameters_.at(slot)->name,
                                    NodeText(graph_.nodes[i]).describe()));
      }
  }

  // The unit that alone holds a parameter under all of its names.
  const std::string* owner(Slot slot) const {
    const auto found = parameters_.find(slot);
    if (found == parameters_.end()) return nullptr;
    const auto holds = [&](const std::string& unit) {
      const auto& [slot, weight] = *found;
      return is_inside(weight->name, unit) &&
             std::all_of(weight->aliases.begin(), weight->aliases.end(), [&](const auto& alias) { return is_inside(alias, unit); });
    };
    const auto unit = std::find_if(units_.begin(), units_.end(), holds);
    return unit == units_.end() ? nullptr : &*unit;
  }

  void build() {
    std::vector<size_t> last_read(graph_.values.size(), 0);
    for (size_t i = 0; i < uses_.size(); i++)
      for (const Slot slot : uses_[i].reads) last_read[static_cast<size_t>(slot)] = i;
    std::vector<Slot> outputs;
    for (const auto& output : graph_.outputs) append_slots(outputs, output);
    for (const Slot slot : outputs) last_read[static_cast<size_t>(slot)] = graph_.nodes.size();

    auto& graph = result_.graph;
    graph = {.name = graph_.name, .values = graph_.values, .inputs = graph_.inputs, .nodes = {}, .outputs = graph_.outputs};
    size_t next = 0;
    for (const auto& range : ranges_) {
      graph.nodes.insert(graph.nodes.end(), graph_.nodes.begin() + static_cast<long>(next),
                         graph_.nodes.begin() + static_cast<long>(range.begin));
      graph.nodes.push_back(outline(range, last_read));
      next = range.end;
    }
    graph.nodes.insert(graph.nodes.end(), graph_.nodes.begin() + static_cast<long>(next), graph_.nodes.end());
  }

  // The node that calls the range as a unit.
  Node outline(const Range& range, const std::vector<size_t>& last_read) {
    UnitCall call{.path = range.call->path, .graph = {}, .bound = {}, .changing = {}};
    Node node{.name = range.call->path, .target = unit_target, .arguments = {}, .outputs = {}, .modules = {*range.call}, .source = {}};
    node.arguments.push_back({{}, false, Item(static_cast<int64_t>(result_.calls.size()))});
    Outline inner(graph_);
    const auto made = made_in(range);
    std::set<Slot> seen;
    for (size_t i = range.begin; i < range.end; i++)
      for (const Slot slot : uses_[i].reads) {
        if (made.contains(slot) || !seen.insert(slot).second) continue;
        if (!bound_.contains(slot)) {
          node.arguments.push_back({{}, false, Item(SlotRef{slot})});
          inner.graph.inputs.push_back(inner.inner(slot));
          continue;
        }
        call.bound.push_back(slot);
        if (written_.contains(slot)) call.changing.push_back(slot);
      }
    for (const Slot slot : call.bound) inner.graph.inputs.push_back(inner.inner(slot));
    for (size_t i = range.begin; i < range.end; i++) inner.add(graph_.nodes[i]);
    for (const Slot slot : made) {
      if (last_read[static_cast<size_t>(slot)] < range.end) continue;
      inner.graph.outputs.emplace_back(Item(SlotRef{inner.inner(slot)}));
      node.outputs.push_back({.list = false, .slots = {slot}});
    }
    inner.graph.name = range.call->path;
    call.graph = std::move(inner.graph);
    result_.calls.push_back(std::move(call));
    return node;
  }

  const Graph& graph_;
  const std::vector<std::string>& units_;
  const SharedMemory memory_;
  const std::vector<NodeUse>& uses_;
  const std::set<Slot> written_;  ///< origins of what nodes write
  std::set<Slot> bound_;          ///< parameters, buffers and constants
  std::map<Slot, const Weight*> parameters_;
  std::vector<Range> ranges_;
  Cut result_;
};

}  // namespace

Cut cut_into_units(const Program& program, const std::vector<Weight>& weights, const std::vector<std::string>& units) {
  return Cutter(program, weights, units).cut();
}

}  // namespace levin::exported
