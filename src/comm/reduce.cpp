#include "reduce.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace levin::detail {
namespace {

/// What a dtype is summed in: halves in fp32, integers without a sign because their overflow must wrap.
template <class T>
struct Wide {
  using type = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::type_identity<T>>::type;
};
template <>
struct Wide<c10::Half> {
  using type = float;
};
template <>
struct Wide<c10::BFloat16> {
  using type = float;
};

struct Sum {
  template <class T>
  static T apply(T a, T b) {
    return static_cast<T>(a + b);
  }
};
// A NaN of any rank is a NaN for all.
struct Min {
  template <class T>
  static T apply(T a, T b) {
    return b < a || b != b ? b : a;
  }
};
struct Max {
  template <class T>
  static T apply(T a, T b) {
    return a < b || b != b ? b : a;
  }
};

// Blocks stay in the first cache, so that every source is read and every output written once, whatever the number of ranks.
constexpr size_t block = 1024;

template <class T, class Op>
void reduce_blocks(std::span<std::byte* const> outputs, std::span<const std::byte* const> sources, size_t count, bool mean) {
  // Order of integers matters to min and max, which need no wider type.
  using A = std::conditional_t<std::is_same_v<Op, Sum> || !std::is_integral_v<T>, typename Wide<T>::type, T>;
  alignas(64) A sum[block];
  alignas(64) T result[block];
  const A divisor = static_cast<A>(static_cast<int>(sources.size()));
  for (size_t begin = 0; begin < count; begin += block) {
    const size_t n = std::min(block, count - begin);
    const T* __restrict first = reinterpret_cast<const T*>(sources[0]) + begin;
    if (sources.size() == 1) {
      for (size_t i = 0; i < n; i++) sum[i] = static_cast<A>(first[i]);
    } else {
      const T* __restrict second = reinterpret_cast<const T*>(sources[1]) + begin;
      for (size_t i = 0; i < n; i++) sum[i] = Op::apply(static_cast<A>(first[i]), static_cast<A>(second[i]));
    }
    for (size_t k = 2; k < sources.size(); k++) {
      const T* __restrict source = reinterpret_cast<const T*>(sources[k]) + begin;
      for (size_t i = 0; i < n; i++) sum[i] = Op::apply(sum[i], static_cast<A>(source[i]));
    }
    if (mean)
      for (size_t i = 0; i < n; i++) sum[i] = static_cast<A>(sum[i] / divisor);
    const T* values;
    if constexpr (std::is_same_v<A, T>) {
      values = sum;
    } else {
      for (size_t i = 0; i < n; i++) result[i] = static_cast<T>(sum[i]);
      values = result;
    }
    for (std::byte* output : outputs) std::copy_n(values, n, reinterpret_cast<T*>(output) + begin);
  }
}

template <class T>
void reduce_typed(std::span<std::byte* const> outputs, std::span<const std::byte* const> sources, size_t count, ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::mean: return reduce_blocks<T, Sum>(outputs, sources, count, op == ReduceOp::mean);
    case ReduceOp::min: return reduce_blocks<T, Min>(outputs, sources, count, false);
    case ReduceOp::max: return reduce_blocks<T, Max>(outputs, sources, count, false);
  }
}

}  // namespace

const char* name_of(ReduceOp op) {
  constexpr const char* names[] = {"sum", "mean", "min", "max"};
  return names[static_cast<int>(op)];
}

void check_reducible(at::ScalarType dtype, ReduceOp op) {
  using enum at::ScalarType;
  switch (dtype) {
    case Float:
    case Double:
    case Half:
    case BFloat16: return;
    case Char:
    case Byte:
    case Short:
    case Int:
    case Long:
      if (op != ReduceOp::mean) return;
      throw UsageError("comm", fmt::format("the mean of {} tensors", c10::toString(dtype)), "reduce a floating-point copy, or use sum");
    case Bool:
      if (op == ReduceOp::min || op == ReduceOp::max) return;
      throw UsageError("comm", fmt::format("the {} of Bool tensors", name_of(op)), "use max for or, min for and, or an integer copy");
    default:
      throw UsageError("comm", fmt::format("cannot reduce {} tensors", c10::toString(dtype)),
                       "use floating-point, integer or Bool tensors");
  }
}

void reduce(std::span<std::byte* const> outputs, std::span<const std::byte* const> sources, size_t count, at::ScalarType dtype,
            ReduceOp op) {
  check_reducible(dtype, op);
  using enum at::ScalarType;
  switch (dtype) {
    case Float: return reduce_typed<float>(outputs, sources, count, op);
    case Double: return reduce_typed<double>(outputs, sources, count, op);
    case Half: return reduce_typed<c10::Half>(outputs, sources, count, op);
    case BFloat16: return reduce_typed<c10::BFloat16>(outputs, sources, count, op);
    case Char: return reduce_typed<int8_t>(outputs, sources, count, op);
    case Bool:
    case Byte: return reduce_typed<uint8_t>(outputs, sources, count, op);
    case Short: return reduce_typed<int16_t>(outputs, sources, count, op);
    case Int: return reduce_typed<int32_t>(outputs, sources, count, op);
    case Long: return reduce_typed<int64_t>(outputs, sources, count, op);
    default: return;  // refused above
  }
}

}  // namespace levin::detail
