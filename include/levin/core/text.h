#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/// The index of the first byte that is not part of valid UTF-8, or is a control character other than tab, newline and carriage return;
/// std::string::npos when all is well.
size_t first_bad_byte(std::string_view text) noexcept;
/// The text for a message: one line of valid UTF-8, with ? for what is not.
std::string sanitized(std::string_view text);
/// A value for a message: printable, in quotes, cut to about 80 bytes; blanks that look like a space or like nothing as <U+00A0>.
std::string quote(std::string_view text);
/// A type's name without its namespaces: "Linear" of "torch::nn::Linear".
std::string unqualified(const std::string& type_name);
/// "a, b, c"
std::string joined(const std::vector<std::string>& names);
/// The known name nearest to `name` by edit distance without regard to case, or "" when none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

}  // namespace levin
