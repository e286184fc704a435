#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace levin::objective {

/// `name`, or `function(name, name, option=number)`.
struct Call {
  std::string function;  ///< empty: a name alone, the only one of `arguments`
  std::vector<std::string> arguments;
  std::map<std::string, double> options;
  std::string text() const;  ///< as it was written, but for blanks
};

/// A call times a number.
struct Term {
  double factor = 1;
  Call call;
};

/// The option that an expression is the value of, for messages: "model.loss".
struct ExpressionSource {
  std::string option, text;
  /// ConfigError: the option, its text, and what is wrong with it.
  [[noreturn]] void fail(const std::string& why, const std::string& remedy) const;
};

/// `CALL`. ConfigError, with the byte, for anything else.
Call parse_call(const ExpressionSource& source);
/// `0.5 * CALL + CALL`. ConfigError, with the byte, for anything else.
std::vector<Term> parse_terms(const ExpressionSource& source);

}  // namespace levin::objective
