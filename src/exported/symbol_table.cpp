#include "symbol_table.h"

#include <charconv>
#include <limits>

namespace levin::exported {
namespace {

/// By recursive descent, to a depth that no size of a model has. Fails by returning nothing.
class LinearParser {
 public:
  explicit LinearParser(std::string_view text) : rest_(text) {}

  std::optional<LinearExpression> parse() {
    const auto result = expression(0);
    return rest_.empty() ? result : std::nullopt;
  }

 private:
  using Result = std::optional<LinearExpression>;

  bool skip(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  Result expression(int depth) {
    constexpr int most_depth = 20;
    if (depth > most_depth) return {};
    if (skip("Integer(")) return integer();
    if (skip("Symbol('")) return symbol();
    if (skip("Add(")) return terms(depth, {0, 0, {}}, add);
    if (skip("Mul(")) return terms(depth, {1, 0, {}}, multiply);
    return {};
  }

  Result integer() {
    LinearExpression result;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), result.offset);
    if (error != std::errc()) return {};
    rest_.remove_prefix(static_cast<size_t>(end - rest_.data()));
    return skip(")") ? Result(result) : std::nullopt;
  }

  Result symbol() {
    const auto quote = rest_.find('\''), end = rest_.find(')');
    if (quote == std::string_view::npos || end == std::string_view::npos || end < quote || quote == 0) return {};
    LinearExpression result{0, 1, std::string(rest_.substr(0, quote))};
    rest_.remove_prefix(end + 1);
    return result;
  }

  Result terms(int depth, LinearExpression result, bool (*combine)(LinearExpression&, const LinearExpression&)) {
    do {
      const auto term = expression(depth + 1);
      if (!term || !combine(result, *term)) return {};
    } while (skip(", "));
    return skip(")") ? Result(result) : std::nullopt;
  }

  static bool add(LinearExpression& sum, const LinearExpression& term) {
    if (!sum.symbol.empty() && !term.symbol.empty() && sum.symbol != term.symbol) return false;
    if (sum.symbol.empty()) sum.symbol = term.symbol;
    return !__builtin_add_overflow(sum.offset, term.offset, &sum.offset) && !__builtin_add_overflow(sum.factor, term.factor, &sum.factor);
  }

  static bool multiply(LinearExpression& product, const LinearExpression& term) {
    if (product.factor != 0 && term.factor != 0) return false;
    const int64_t factor = product.factor != 0 ? term.offset : product.offset;
    const auto& with_symbol = product.factor != 0 ? product : term;
    LinearExpression result{0, 0, with_symbol.symbol};
    if (__builtin_mul_overflow(with_symbol.offset, factor, &result.offset) ||
        __builtin_mul_overflow(with_symbol.factor, factor, &result.factor))
      return false;
    product = result;
    return true;
  }

  std::string_view rest_;
};

bool is_symbol(std::string_view name) {
  for (const char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) return false;
  return true;
}

}  // namespace

std::optional<LinearExpression> parse_linear(std::string_view expression) {
  auto result = LinearParser(expression).parse();
  if (result && result->factor == 0) result->symbol.clear();
  return result;
}

SymbolTable::SymbolTable(const JsonPlace& range_constraints) {
  for (const auto& [name, range] : range_constraints.members()) {
    if (!is_symbol(name)) continue;  // an expression such as "2*s24", whose range follows from the symbol's
    range.only({"min_val", "max_val"});
    auto& symbol = symbols_[static_cast<size_t>(index_of(std::string(name)))];
    if (const auto min = range.find("min_val")) symbol.min = min->integer();
    if (const auto max = range.find("max_val")) symbol.max = max->integer();
    if (symbol.min > symbol.max) range.refuse("is empty");
  }
}

int SymbolTable::index_of(const std::string& name) {
  const auto [place, fresh] = index_.emplace(name, static_cast<int>(symbols_.size()));
  if (fresh) symbols_.push_back({name, 0, std::numeric_limits<int64_t>::max()});
  return place->second;
}

Size SymbolTable::read(const JsonPlace& size, int64_t min) {
  const auto [kind, value] = size.choice();
  Size result;
  if (kind == "as_int") {
    result.offset = value.integer(min);
    return result;
  }
  if (kind != "as_expr") size.refuse("is neither an integer nor an expression");
  value.only({"expr_str", "hint"});
  const auto& text = value.member("expr_str").text();
  if (text.empty()) value.refuse("is an empty expression");
  const auto linear = parse_linear(text);
  if (linear && linear->factor == 0) {
    if (linear->offset < min) value.refuse("is less than 0");
    result.offset = linear->offset;
    return result;
  }
  result.expression = text;
  if (linear) result.offset = linear->offset, result.factor = linear->factor, result.symbol = index_of(linear->symbol);
  return result;
}

}  // namespace levin::exported
