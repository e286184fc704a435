#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace levin::exported {

/// Where and in which dtypes a module computes. The export has fixed both in the graph's arguments and constants.
struct Placement {
  c10::Device device = c10::Device(c10::kCPU);
  /// The module's dtype; Undefined: the exported.
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  /// Dtypes of the exported parameters, and the complex ones of their precision.
  std::vector<c10::ScalarType> exported;

  bool operator==(const Placement&) const = default;
  /// The dtype in place of one in the graph. That of exported parameters becomes the module's. A narrower one, which promotes nothing that
  /// is computed with parameters, becomes no wider than the module's, and a wider one no narrower.
  c10::ScalarType map(c10::ScalarType dtype) const noexcept;
  at::Tensor move(const at::Tensor& constant) const;
};

/// The wider of two floating-point dtypes; Undefined is the narrowest.
c10::ScalarType wider(c10::ScalarType a, c10::ScalarType b) noexcept;

}  // namespace levin::exported
