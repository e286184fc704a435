#include "placement.h"

#include <algorithm>

namespace levin::exported {
namespace {

// Half precision has no complex numbers that LibTorch computes with.
c10::ScalarType complex_of(c10::ScalarType real) noexcept { return real == at::kDouble ? at::kComplexDouble : at::kComplexFloat; }

}  // namespace

c10::ScalarType Placement::map(c10::ScalarType from) const noexcept {
  if (dtype == c10::ScalarType::Undefined) return from;
  const bool is_complex = c10::isComplexType(from);
  if (!is_complex && !c10::isFloatingType(from)) return from;
  const bool follows =
      std::any_of(exported.begin(), exported.end(), [&](auto known) { return (is_complex ? complex_of(known) : known) == from; });
  if (!follows) return from;
  return is_complex ? complex_of(dtype) : dtype;
}

at::Tensor Placement::move(const at::Tensor& constant) const { return constant.to(device, map(constant.scalar_type())); }

c10::ScalarType wider(c10::ScalarType a, c10::ScalarType b) noexcept {
  if (a == c10::ScalarType::Undefined || b == c10::ScalarType::Undefined) return a == c10::ScalarType::Undefined ? b : a;
  return c10::elementSize(b) > c10::elementSize(a) ? b : a;
}

}  // namespace levin::exported
