#include "placement.h"

namespace levin::exported {
namespace {

// Half precision has no complex numbers that LibTorch computes with.
c10::ScalarType complex_of(c10::ScalarType real) noexcept { return real == at::kDouble ? at::kComplexDouble : at::kComplexFloat; }

// Of a real floating-point dtype.
c10::ScalarType map_real(const Placement& placement, c10::ScalarType from) noexcept {
  auto widest = c10::ScalarType::Undefined;
  for (const auto known : placement.exported) {
    if (known == from) return placement.dtype;
    widest = wider(widest, known);
  }
  const auto size = c10::elementSize(from), exported = c10::elementSize(widest), of_module = c10::elementSize(placement.dtype);
  const bool keeps = size == exported || (size < exported ? size < of_module : size > of_module);
  return keeps ? from : placement.dtype;
}

}  // namespace

c10::ScalarType Placement::map(c10::ScalarType from) const noexcept {
  const bool is_complex = c10::isComplexType(from);
  if (dtype == c10::ScalarType::Undefined || exported.empty() || (!is_complex && !c10::isFloatingType(from))) return from;
  if (!is_complex) return map_real(*this, from);
  const auto real = c10::toRealValueType(from), mapped = map_real(*this, real);
  return mapped == real ? from : complex_of(mapped);
}

at::Tensor Placement::move(const at::Tensor& constant) const { return constant.to(device, map(constant.scalar_type())); }

c10::ScalarType wider(c10::ScalarType a, c10::ScalarType b) noexcept {
  if (a == c10::ScalarType::Undefined || b == c10::ScalarType::Undefined) return a == c10::ScalarType::Undefined ? b : a;
  return c10::elementSize(b) > c10::elementSize(a) ? b : a;
}

}  // namespace levin::exported
