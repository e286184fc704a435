#pragma once
#include <string>
#include <vector>

namespace levin::detail {

/// Ascending numbers as text: {0, 1, 2, 5} is "0-2, 5".
std::string format_ranges(const std::vector<int>& numbers);

}  // namespace levin::detail
