#pragma once
#include "json_tree.h"
#include "schema.h"
#include "value_table.h"

namespace levin::exported {

/// Reads arguments of a node: the schema's union Argument. `node` names the node in messages and in subgraphs.
class ArgumentReader {
 public:
  ArgumentReader(const ValueTable& values, std::string node) : values_(values), node_(std::move(node)) {}

  using Content = decltype(Argument::value);
  /// Subgraphs become graphs of the same program.
  Content read(const JsonPlace& json) const;
  /// An output of a graph: any argument but a subgraph.
  std::variant<Item, List> read_output(const JsonPlace& json) const;

 private:
  std::optional<Item> read_item(std::string_view kind, const JsonPlace& json) const;
  std::optional<List> read_list(std::string_view kind, const JsonPlace& json) const;
  /// A number, or the name of a value: the unions SymIntArgument, SymFloatArgument, SymBoolArgument.
  Item read_symbolic(const JsonPlace& json, ValueKind kind) const;
  Item read_tensor(const JsonPlace& json) const;
  Item read_optional_tensor(const JsonPlace& json) const;
  [[noreturn]] void unsupported(const JsonPlace& json, std::string_view kind) const;

  const ValueTable& values_;
  std::string node_;
};

}  // namespace levin::exported
