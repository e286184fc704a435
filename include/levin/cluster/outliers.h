#pragma once
#include <cstddef>
#include <vector>

namespace levin {

enum class Better { higher, lower };

/// Mean and spread of a measurement, and the indices of values that are worse than the mean by more than 10 % and at least one standard
/// deviation. NaN counts as not measured.
struct Spread {
  double mean = 0, sigma = 0, least = 0, most = 0;
  size_t count = 0;  ///< of values that are not NaN
  std::vector<size_t> outliers = {};
};
Spread spread_of(const std::vector<double>& values, Better better);

}  // namespace levin
