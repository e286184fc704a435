#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "json_tree.h"
#include "schema.h"

namespace levin::exported {

/// The symbols of a program, and the sizes that are made of them.
class SymbolTable {
 public:
  SymbolTable() = default;
  explicit SymbolTable(const JsonPlace& range_constraints);

  /// A SymInt of the schema: an integer of at least `min`, or an expression.
  Size read(const JsonPlace& size, int64_t min = 0);
  const std::vector<Symbol>& symbols() const noexcept { return symbols_; }

 private:
  int index_of(const std::string& name);

  std::vector<Symbol> symbols_;
  std::map<std::string, int> index_;
};

/// factor * symbol + offset, from an expression such as "Add(Mul(Integer(2), Symbol('s24', positive=True, integer=True)), Integer(1))".
struct LinearExpression {
  int64_t offset = 0, factor = 0;
  std::string symbol;  ///< empty where factor is 0
};
/// Nothing for another expression: of several symbols, not linear, or beyond 64 bits.
std::optional<LinearExpression> parse_linear(std::string_view expression);

}  // namespace levin::exported
