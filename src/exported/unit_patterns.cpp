#include "unit_patterns.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace levin::exported {
namespace {

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts{""};
  for (const char c : path) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

bool is_number(const std::string& text) { return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos; }

// Calls fn(module) for every level of every node's modules, those of inner graphs, too.
template <class Fn>
void for_each_module(const Graph& graph, const Fn& fn) {
  for (const auto& node : graph.nodes) {
    for (const auto& module : node.modules)
      if (!module.path.empty()) fn(module);
    for (const auto& argument : node.arguments)
      if (const auto* inner = std::get_if<std::shared_ptr<const Graph>>(&argument.value)) for_each_module(**inner, fn);
  }
}

}  // namespace

bool fits_pattern(const std::string& path, const std::string& pattern) {
  const auto parts = parts_of(path), wanted = parts_of(pattern);
  return std::equal(parts.begin(), parts.end(), wanted.begin(), wanted.end(),
                    [](const std::string& part, const std::string& wish) { return wish == "*" || wish == part; });
}

bool is_inside(const std::string& name, const std::string& path) {
  return name.size() > path.size() && name.starts_with(path) && name[path.size()] == '.';
}

std::vector<std::string> called_modules(const Graph& graph) {
  std::vector<std::string> paths;
  std::set<std::string> seen;
  for_each_module(graph, [&](const ModuleCall& module) {
    if (seen.insert(module.path).second) paths.push_back(module.path);
  });
  return paths;
}

std::map<std::string, std::string> module_classes(const Graph& graph) {
  std::map<std::string, std::string> classes;
  for_each_module(graph, [&](const ModuleCall& module) { classes.emplace(module.path, module.type.substr(module.type.rfind('.') + 1)); });
  return classes;
}

std::string longest_list(const Graph& graph) {
  using Key = std::pair<std::string, std::string>;  // the list's path, and the class of its modules
  std::vector<Key> keys;
  std::map<Key, std::set<std::string>> members;
  for (const auto& node : graph.nodes)
    for (const auto& module : node.modules) {
      const auto dot = module.path.rfind('.');
      if (!is_number(module.path.substr(dot == std::string::npos ? 0 : dot + 1))) continue;
      const Key key{dot == std::string::npos ? "" : module.path.substr(0, dot + 1), module.type};
      if (!members.contains(key)) keys.push_back(key);
      members[key].insert(module.path);
    }
  const auto rank = [&](const Key& key) {
    return std::tuple(members.at(key).size(), -static_cast<int>(std::count(key.first.begin(), key.first.end(), '.')));
  };
  const auto best = std::max_element(keys.begin(), keys.end(), [&](const Key& a, const Key& b) { return rank(a) < rank(b); });
  return best == keys.end() || members.at(*best).size() < 2 ? "" : best->first + "*";
}

}  // namespace levin::exported
