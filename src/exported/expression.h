#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace levin::objective {

/// The value of an option that is a name, and its first byte in the expression, from 1 on.
struct Word {
  std::string text;
  size_t byte = 0;
};

/// `name`, or `function(name, name, option=number, option=word)`.
struct Call {
  std::string function;  ///< empty: a name alone, the only one of `arguments`
  std::vector<std::string> arguments;
  std::map<std::string, double> options;   ///< numbers
  std::map<std::string, Word> words = {};  ///< options that are words
  std::string text() const;                ///< as written, with other blanks
};

/// A call times a number.
struct Term {
  double factor = 1;
  Call call;
};

/// An expression with the option that it is the value of, such as "model.loss", for messages.
struct ExpressionSource {
  std::string option, text;
  /// Throws a ConfigError with the option, its text and the reason.
  [[noreturn]] void fail(const std::string& why, const std::string& remedy) const;
};

/// `CALL`. ConfigError, with the byte, for anything else.
Call parse_call(const ExpressionSource& source);
/// `0.5 * CALL + CALL`. ConfigError, with the byte, for anything else.
std::vector<Term> parse_terms(const ExpressionSource& source);

}  // namespace levin::objective
