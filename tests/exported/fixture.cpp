#include "fixture.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin::test {

double distance(const std::map<std::string, Tensor>& found, const std::map<std::string, Tensor>& expected) {
  double largest = 0;
  for (const auto& [name, tensor] : expected) {
    const auto other = found.find(name);
    if (other == found.end() || other->second.sizes() != tensor.sizes()) return std::numeric_limits<double>::infinity();
    if (tensor.numel() == 0) continue;
    const double difference = (other->second.to(at::kDouble) - tensor.to(at::kDouble)).abs().max().item<double>();
    if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, difference);
  }
  return largest;
}

}  // namespace levin::test
