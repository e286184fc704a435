#include "npy_header.h"

#include <fmt/format.h>

#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::detail {
namespace {

constexpr size_t most_npy_dims = 32;

class NpyParser {
 public:
  NpyParser(std::string_view text, const std::function<void(const std::string&)>& refuse) : text_(text), refuse_(refuse) {}

  NpyHeader parse() {
    NpyHeader header;
    bool descr = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const auto key = string("a key");
      expect(':');
      const auto once = [&](bool& known) {
        if (known) fail(fmt::format("the key {} twice", quote(key)));
        known = true;
      };
      if (key == "descr") {
        once(descr);
        if (peek() == '[') fail("a structured dtype; write each field as a separate array");
        header.descr = string("a dtype");
      } else if (key == "fortran_order") {
        once(order);
        header.fortran_order = boolean();
      } else if (key == "shape") {
        once(shape);
        header.shape = tuple();
      } else {
        fail(fmt::format("an unknown key {}", quote(key)));
      }
      if (!accept(',') && peek() != '}') fail(fmt::format("no comma at byte {}", at_));
    }
    skip_blanks();
    if (at_ != text_.size()) fail(fmt::format("further text at byte {}", at_));
    if (!descr || !order || !shape) fail("not all of descr, fortran_order and shape");
    return header;
  }

 private:
  void fail(const std::string& why) const { refuse_(why); }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) at_++;
  }
  char peek() {
    skip_blanks();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char wanted) {
    if (peek() != wanted) return false;
    at_++;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(fmt::format("no {} at byte {}", wanted, at_));
  }
  std::string string(const char* role) {
    const char mark = peek();
    const auto end = mark == '\'' || mark == '"' ? text_.find(mark, at_ + 1) : std::string_view::npos;
    if (end == std::string_view::npos) fail(fmt::format("no {} in quotes at byte {}", role + 2, at_));
    std::string found(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return found;
  }
  bool boolean() {
    skip_blanks();
    for (const auto& [word, value] : {std::pair{std::string_view("True"), true}, {std::string_view("False"), false}})
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return value;
      }
    fail(fmt::format("neither True nor False at byte {}", at_));
    return false;
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      skip_blanks();
      const auto end = std::min(text_.find_first_not_of("0123456789", at_), text_.size());
      const auto size = parse_number<int64_t>(text_.substr(at_, end - at_));
      if (!size) fail(fmt::format("no size at byte {}", at_));
      sizes.push_back(*size);
      at_ = end;
      if (sizes.size() > most_npy_dims) fail(fmt::format("more than {} dimensions", most_npy_dims));
      if (!accept(',') && peek() != ')') fail(fmt::format("no comma at byte {}", at_));
    }
    return sizes;
  }

  std::string_view text_;
  const std::function<void(const std::string&)>& refuse_;
  size_t at_ = 0;
};

}  // namespace

NpyHeader NpyHeader::from_text(std::string_view text, const std::function<void(const std::string&)>& refuse) {
  return NpyParser(text, refuse).parse();
}

}  // namespace levin::detail
