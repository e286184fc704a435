#include "node_text.h"

#include <fmt/format.h>

#include "levin/core/error.h"
#include "levin/core/text.h"

namespace levin::exported {
namespace {

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

constexpr size_t longest_line = 160;

}  // namespace

// Entries are `  File "/x/model.py", line 12, in forward` and, on the next line, its source.
std::string python_line(const std::string& stack_trace) {
  const std::string start = "File \"", middle = "\", line ";
  const auto file = stack_trace.rfind(start);
  const auto number = file == std::string::npos ? file : stack_trace.find(middle, file);
  if (number == std::string::npos) return {};
  const auto digits = number + middle.size();
  std::string line = fmt::format("{}:{}", stack_trace.substr(file + start.size(), number - file - start.size()),
                                 stack_trace.substr(digits, stack_trace.find_first_not_of("0123456789", digits) - digits));
  if (const auto end = stack_trace.find('\n', digits); end != std::string::npos) {
    const std::string source = trimmed(stack_trace.substr(end + 1, stack_trace.find('\n', end + 1) - end - 1));
    if (!source.empty()) line += ": " + source;
  }
  return sanitized(line.substr(0, longest_line));
}

NodeText::NodeText(const Node& node)
    : name(sanitized(node.name)),
      target(sanitized(node.target)),
      module(node.modules.empty() ? std::string() : sanitized(node.modules.back().path)),
      line(python_line(node.source)) {}

std::string NodeText::describe() const {
  return fmt::format("node \"{}\" ({}){}{}", name, target, module.empty() ? "" : fmt::format(" of module \"{}\"", module),
                     line.empty() ? "" : ", " + line);
}

void refuse_node(const Node& node, const Refused& reason) {
  throw ConfigError(fmt::format("{}, in {}", reason.what(), NodeText(node).describe()), reason.remedy, "exported");
}

}  // namespace levin::exported
