#include "expression.h"

#include <fmt/format.h>

#include <algorithm>

#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::objective {
namespace {

constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
constexpr std::string_view digits = "0123456789";

class ExpressionParser {
 public:
  explicit ExpressionParser(const ExpressionSource& source) : source_(source), text_(source.text) {}

  std::vector<Term> terms() {
    std::vector<Term> found;
    do {
      Term term;
      if (const char first = peek(); digits.find(first) != std::string_view::npos || first == '.' || first == '-') {
        term.factor = number();
        expect('*', "after a factor");
      }
      term.call = call();
      found.push_back(std::move(term));
    } while (accept('+'));
    end();
    return found;
  }
  Call call_alone() {
    auto found = call();
    end();
    return found;
  }

 private:
  [[noreturn]] void fail(const std::string& why) const {
    source_.fail(fmt::format("{} at byte {}", why, at_ + 1), "write NAME or FUNCTION(NAME, NAME, OPTION=NUMBER)");
  }
  char peek() {
    while (at_ < text_.size() && text_[at_] == ' ') at_++;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char wanted) {
    if (peek() != wanted) return false;
    at_++;
    return true;
  }
  void expect(char wanted, const char* where) {
    if (!accept(wanted)) fail(fmt::format("no {} {}", wanted, where));
  }
  void end() {
    if (peek() != '\0' || at_ < text_.size()) fail(fmt::format("unexpected {}", quote(text_.substr(at_, 1))));
  }
  // Names of outputs and tensors may have dots, as Python's names of buffers.
  std::string name() {
    if (letters.find(peek()) == std::string_view::npos || at_ >= text_.size()) fail("no name");
    const size_t begin = at_;
    while (at_ < text_.size() &&
           (letters.find(text_[at_]) != std::string_view::npos || digits.find(text_[at_]) != std::string_view::npos || text_[at_] == '.'))
      at_++;
    return std::string(text_.substr(begin, at_ - begin));
  }
  double number() {
    peek();
    const size_t begin = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool sign = (c == '-' || c == '+') && (at_ == begin || text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E');
      if (!sign && digits.find(c) == std::string_view::npos && c != '.' && c != 'e' && c != 'E') break;
      at_++;
    }
    const auto value = parse_number<double>(text_.substr(begin, at_ - begin));
    if (!value) {
      at_ = begin;
      fail("no number");
    }
    return *value;
  }
  Call call() {
    Call found;
    auto first = name();
    if (!accept('(')) {
      found.arguments.push_back(std::move(first));
      return found;
    }
    found.function = std::move(first);
    do {
      auto argument = name();
      if (accept('=')) {
        if (!found.options.emplace(argument, number()).second) fail(fmt::format("{} twice", quote(argument)));
      } else if (!found.options.empty()) {
        fail("a name after an option");
      } else {
        found.arguments.push_back(std::move(argument));
      }
    } while (accept(','));
    expect(')', "after the arguments");
    return found;
  }

  const ExpressionSource& source_;
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::string Call::text() const {
  if (function.empty()) return arguments.front();
  std::string inner = joined(arguments);
  for (const auto& [name, value] : options) inner += fmt::format(", {}={}", name, value);
  return fmt::format("{}({})", function, inner);
}

void ExpressionSource::fail(const std::string& why, const std::string& remedy) const {
  throw ConfigError(fmt::format("{} is {}: {}", option, quote(text), why), remedy);
}

Call parse_call(const ExpressionSource& source) { return ExpressionParser(source).call_alone(); }
std::vector<Term> parse_terms(const ExpressionSource& source) { return ExpressionParser(source).terms(); }

}  // namespace levin::objective
