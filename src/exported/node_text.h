#pragma once
#include <stdexcept>
#include <string>

#include "graph.h"

namespace levin::exported {

/// The innermost call of a stack trace of Python's: "model.py:12: y = self.fc(x)"; empty where there is none.
std::string python_line(const std::string& stack_trace);
/// A node in messages: its name, target, module and line of Python.
struct NodeText {
  std::string name, target, module, line;
  NodeText() = default;
  explicit NodeText(const Node& node);
  /// `node "addmm" (torch.ops.aten.addmm.default) of module "blocks.0", model.py:12: y = self.fc(x)`
  std::string describe() const;
};

/// Why a node cannot run. at_node makes it a ConfigError.
struct Refused : std::runtime_error {
  Refused(const std::string& message, std::string remedy) : std::runtime_error(message), remedy(std::move(remedy)) {}
  std::string remedy;
};
[[noreturn]] void refuse_node(const Node& node, const Refused& reason);
/// fn(), where a refusal becomes a ConfigError that names the node.
template <class Fn>
auto at_node(const Node& node, const Fn& fn) {
  try {
    return fn();
  } catch (const Refused& reason) {
    refuse_node(node, reason);
  }
}

}  // namespace levin::exported
