#include "range_text.h"

#include <algorithm>

namespace levin::detail {

void describe_range(const RangeName& range, std::string& text) {
  text.clear();
  const bool sentence = range.name.find(' ') != std::string_view::npos;
  if (range.kind == RangeKind::hook && !range.owner.empty() && !sentence) text.append(range.owner).append(".");
  text.append(range.name);
  if (range.kind == RangeKind::collective && !range.owner.empty()) text.append(" for ").append(range.owner);
  if (range.kind == RangeKind::unit) text.insert(0, "unit ");
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
}

}  // namespace levin::detail
