#pragma once
#include <string>
#include <vector>

#include "json_tree.h"

namespace levin::exported {

/// A name for each leaf of nested containers, which torch.export writes as a "treespec": "loss", "hidden.0". The numbers of a sequence
/// that is not in a dict get `prefix` ("output_0"); the name of a single leaf is empty. `json` is a text that holds JSON.
std::vector<std::string> leaf_names(const JsonPlace& json, const std::string& prefix);

/// The same for a function's arguments: a tuple of positional ones, called `positional`, and a dict of the others.
std::vector<std::string> argument_names(const JsonPlace& json, const std::vector<std::string>& positional);

}  // namespace levin::exported
