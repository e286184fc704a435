#include "levin/cluster/outliers.h"

#include <algorithm>
#include <cmath>

namespace levin {

Spread spread_of(const std::vector<double>& values, Better better) {
  constexpr double tolerance = 0.1, rounding = 1 - 1e-9;  // of two values both are one sigma from the mean
  Spread spread;
  double sum = 0, squares = 0;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    spread.least = spread.count == 0 ? value : std::min(spread.least, value);
    spread.most = spread.count == 0 ? value : std::max(spread.most, value);
    spread.count++;
    sum += value;
  }
  if (spread.count == 0) return spread;
  spread.mean = sum / static_cast<double>(spread.count);
  for (const double value : values)
    if (!std::isnan(value)) squares += (value - spread.mean) * (value - spread.mean);
  spread.sigma = std::sqrt(squares / static_cast<double>(spread.count));
  for (size_t i = 0; i < values.size(); i++) {
    const double worse = better == Better::higher ? spread.mean - values[i] : values[i] - spread.mean;
    if (worse > tolerance * std::abs(spread.mean) && worse >= rounding * spread.sigma) spread.outliers.push_back(i);
  }
  return spread;
}

}  // namespace levin
