#pragma once
#include <string>
#include <string_view>
#include <unordered_map>

#include "json_tree.h"
#include "schema.h"
#include "symbol_table.h"

namespace levin::exported {

/// The values of a graph under construction, in the order in which they are made.
class ValueTable {
 public:
  /// With tensor_values of the graph's JSON.
  ValueTable(const JsonPlace& graph, SymbolTable& symbols);

  /// Makes a value with the name at `name`. DataError for a name in use.
  Slot define(const JsonPlace& name, ValueKind kind);
  /// Makes an input of a subgraph that no node reads.
  Slot define_unnamed();
  /// An earlier value of this kind. DataError otherwise.
  Slot use(const JsonPlace& name, ValueKind kind) const;

  SymbolTable& symbols() const noexcept { return symbols_; }
  std::vector<Value> take() { return std::move(values_); }

 private:
  SymbolTable& symbols_;
  std::unordered_map<std::string_view, JsonPlace> metas_;
  std::unordered_map<std::string, Slot> slots_;
  std::vector<Value> values_;
};

}  // namespace levin::exported
