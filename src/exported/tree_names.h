#pragma once
#include <string>
#include <vector>

#include "json_tree.h"

namespace levin::exported {

/// A name for each leaf of nested containers, which torch.export writes as a "treespec": "loss", "hidden.0". Numbers of a sequence
/// that is not in a dict get `prefix` ("output_0"), a single leaf gets none (""). `json` is the text that has the spec as JSON.
std::vector<std::string> leaf_names(const JsonPlace& json, const std::string& prefix);

/// The same for a function's arguments: a tuple of positional ones, called `positional`, and a dict of the others.
std::vector<std::string> argument_names(const JsonPlace& json, const std::vector<std::string>& positional);

}  // namespace levin::exported
