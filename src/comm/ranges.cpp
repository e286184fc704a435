#include "ranges.h"

#include <fmt/core.h>

namespace levin::detail {

std::string format_ranges(const std::vector<int>& numbers) {
  std::string text;
  for (size_t first = 0, last; first < numbers.size(); first = last + 1) {
    for (last = first; last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1;) last++;
    text += text.empty() ? "" : ", ";
    text += last == first ? fmt::format("{}", numbers[first]) : fmt::format("{}-{}", numbers[first], numbers[last]);
  }
  return text;
}

}  // namespace levin::detail
