#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "levin/core/tensor.h"

namespace levin::detail {

/// Values that a logger's thread reads later: contiguous, on the CPU, with memory of their own. Waits for the device.
inline Tensor copy_of_values(const Tensor& values) {
  const auto dense = values.detach().contiguous().to(at::kCPU);
  return dense.is_alias_of(values) ? dense.clone() : dense;
}

/// Calls `use` with each value of a contiguous tensor on the CPU, as a Number. Converts in pieces so small that LibTorch starts no threads,
/// which would take cores from a step under way.
template <class Number, class Use>
void for_each_value(const Tensor& values, const Use& use) {
  constexpr int64_t piece_size = 16384;
  const auto flat = values.view({-1});
  for (int64_t begin = 0; begin < flat.numel(); begin += piece_size) {
    const auto count = std::min(piece_size, flat.numel() - begin);
    const auto piece = flat.narrow(0, begin, count).to(std::is_same_v<Number, double> ? at::kDouble : at::kFloat);
    const Number* const numbers = piece.template const_data_ptr<Number>();
    for (int64_t i = 0; i < count; i++) use(numbers[i]);
  }
}

}  // namespace levin::detail
