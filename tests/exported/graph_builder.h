#pragma once
// Graphs by hand, as an archive has them.
#include <string>
#include <utility>
#include <vector>

#include "../../src/exported/schema.h"

namespace levin::test {

struct GraphBuilder {
  exported::Slot value(const std::string& name, exported::ValueKind kind = exported::ValueKind::tensor) {
    graph.values.push_back({.name = name, .kind = kind, .meta = {}});
    return static_cast<exported::Slot>(graph.values.size()) - 1;
  }
  exported::Slot input(const std::string& name, exported::ValueKind kind = exported::ValueKind::tensor) {
    graph.inputs.push_back(value(name, kind));
    return graph.inputs.back();
  }
  static exported::Item ref(exported::Slot slot) { return exported::SlotRef{slot}; }

  using Named = std::vector<std::pair<std::string, std::variant<exported::Item, exported::List, std::shared_ptr<const exported::Graph>>>>;
  /// A node that makes one value. `module`: the path of the submodule that calls it.
  exported::Slot node(const std::string& target, const Named& arguments, exported::ValueKind kind = exported::ValueKind::tensor,
                      const std::string& module = {}, const std::string& call = {}) {
    const auto slot = value("value_" + std::to_string(graph.values.size()), kind);
    exported::Node node{.name = graph.values.back().name,
                        .target = target,
                        .arguments = {},
                        .outputs = {{.list = false, .slots = {slot}}},
                        .modules = {},
                        .source = "  File \"model.py\", line " + std::to_string(graph.nodes.size() + 1) + ", in forward\n    y = f(x)\n"};
    for (const auto& [name, content] : arguments) node.arguments.push_back({.name = name, .keyword = false, .value = content});
    if (!module.empty()) node.modules.push_back({.key = module + call, .path = module, .type = "Block"});
    graph.nodes.push_back(std::move(node));
    return slot;
  }
  void output(exported::Slot slot) { graph.outputs.emplace_back(ref(slot)); }

  exported::Graph graph;
};

}  // namespace levin::test
