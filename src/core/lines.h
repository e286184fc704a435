#pragma once
#include <algorithm>
#include <string>
#include <vector>

namespace levin::detail {

/// The lines of a text, without their newlines; the last one needs none.
inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

}  // namespace levin::detail
