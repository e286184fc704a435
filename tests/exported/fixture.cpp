#include "fixture.h"

#include <limits>

namespace levin::test {

double distance(const std::map<std::string, Tensor>& found, const std::map<std::string, Tensor>& expected) {
  double largest = 0;
  for (const auto& [name, tensor] : expected) {
    const auto other = found.find(name);
    if (other == found.end() || other->second.sizes() != tensor.sizes()) return std::numeric_limits<double>::infinity();
    if (tensor.numel() > 0)
      largest = std::max(largest, (other->second.to(at::kDouble) - tensor.to(at::kDouble)).abs().max().item<double>());
  }
  return largest;
}

}  // namespace levin::test
