#pragma once
#include <map>
#include <string>
#include <vector>

#include "graph.h"

namespace levin::exported {

/// Whether a submodule's path fits a pattern, in which `*` is one part: "blocks.3" fits "blocks.*" and "*.3".
bool fits_pattern(const std::string& path, const std::string& pattern);

/// Whether a submodule or a tensor lies below a submodule's path: "blocks.3.weight" in "blocks.3".
bool is_inside(const std::string& name, const std::string& path);

/// Paths of the submodules that a graph's nodes belong to, with those around them, in the order of their first call; without the model's
/// own, which is empty.
std::vector<std::string> called_modules(const Graph& graph);

/// Python's classes of these modules by path: "Linear" of torch.nn.modules.linear.Linear.
std::map<std::string, std::string> module_classes(const Graph& graph);

/// The pattern of the longest list of submodules of one class that the graph calls, such as "blocks.*"; empty if no list has two. Of lists
/// of equal length the outermost, then the first.
std::string longest_list(const Graph& graph);

}  // namespace levin::exported
