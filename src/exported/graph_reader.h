#pragma once
#include <memory>
#include <string>

#include "json_tree.h"
#include "schema.h"
#include "symbol_table.h"

namespace levin::exported {

/// Reads and checks a graph, and its subgraphs, whose depth the JSON's depth bounds. DataError where a value is used before it is made, is
/// made again or has another kind; ConfigError for a construct that Levin does not run, with the node and its line of Python.
std::shared_ptr<const Graph> read_graph(const JsonPlace& json, const std::string& name, SymbolTable& symbols);

}  // namespace levin::exported
