#include "fixture.h"

#include <fmt/format.h>

#include <cmath>

namespace levin::test {

std::string difference(const std::map<std::string, Tensor>& found, const std::map<std::string, Tensor>& expected, double tolerance) {
  double largest = tolerance;
  std::string text;
  for (const auto& [name, tensor] : expected) {
    const auto other = found.find(name);
    if (other == found.end() || other->second.sizes() != tensor.sizes()) return name + " is missing, or of another shape";
    if (tensor.numel() == 0) continue;
    const double by = (other->second.to(at::kDouble) - tensor.to(at::kDouble)).abs().max().item<double>();
    if (by <= largest) continue;
    text = fmt::format("{} by {}", name, by);
    if (std::isnan(by)) return text;
    largest = by;
  }
  return expected.empty() ? "nothing is expected" : text;
}

}  // namespace levin::test
