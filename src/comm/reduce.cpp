#include "reduce.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace levin::detail {
namespace {

/// The accumulation type of a dtype: fp32 for fp16 and bf16; unsigned for integers, whose overflow must wrap.
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
// Propagates NaN.
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

// Blocks fit the L1 cache, so that memory traffic is one read per source and one write per output, for any number of ranks.
constexpr size_t block = 1024;

template <class T, class Op, class Out = T>
void reduce_blocks(std::span<std::byte* const> outputs, std::span<const std::byte* const> sources, size_t count, bool mean) {
  // min and max need the sign of integers, and no wider type.
  using A = std::conditional_t<std::is_same_v<Op, Sum> || !std::is_integral_v<T>, typename Wide<T>::type, T>;
  alignas(64) A sum[block];
  alignas(64) Out result[block];
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
    const Out* values;
    if constexpr (std::is_same_v<A, Out>) {
      values = sum;
    } else {
      for (size_t i = 0; i < n; i++) result[i] = static_cast<Out>(sum[i]);
      values = result;
    }
    for (std::byte* output : outputs) std::copy_n(values, n, reinterpret_cast<Out*>(output) + begin);
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

/// The type of partial results: fp32 for fp16 and bf16, otherwise unchanged.
template <class T>
using Partial = std::conditional_t<std::is_integral_v<T>, T, typename Wide<T>::type>;

template <class T>
void reduce_partial_typed(std::byte* output, std::span<const std::byte* const> sources, size_t count, ReduceOp op) {
  const std::span<std::byte* const> outputs(&output, 1);
  switch (op) {
    case ReduceOp::sum:
    case ReduceOp::mean: return reduce_blocks<T, Sum, Partial<T>>(outputs, sources, count, false);
    case ReduceOp::min: return reduce_blocks<T, Min, Partial<T>>(outputs, sources, count, false);
    case ReduceOp::max: return reduce_blocks<T, Max, Partial<T>>(outputs, sources, count, false);
  }
}

template <class T>
void finish_typed(std::byte* output, const std::byte* partial, size_t count, int divisor) {
  const auto* __restrict from = reinterpret_cast<const Partial<T>*>(partial);
  auto* __restrict to = reinterpret_cast<T*>(output);
  if (divisor == 1)
    for (size_t i = 0; i < count; i++) to[i] = static_cast<T>(from[i]);
  else
    for (size_t i = 0; i < count; i++) to[i] = static_cast<T>(from[i] / static_cast<Partial<T>>(divisor));
}

/// Calls visit(T()) with the C++ type of a dtype that can be reduced.
template <class Visit>
void with_type(at::ScalarType dtype, Visit visit) {
  using enum at::ScalarType;
  // NOLINTBEGIN(bugprone-branch-clone): each case has its own type
  switch (dtype) {
    case Float: return visit(float());
    case Double: return visit(double());
    case Half: return visit(c10::Half());
    case BFloat16: return visit(c10::BFloat16());
    case Char: return visit(int8_t());
    case Bool:
    case Byte: return visit(uint8_t());
    case Short: return visit(int16_t());
    case Int: return visit(int32_t());
    case Long: return visit(int64_t());
    default: return;  // check_reducible refuses these
  }
  // NOLINTEND(bugprone-branch-clone)
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
  with_type(dtype, [&]<class T>(T) { reduce_typed<T>(outputs, sources, count, op); });
}

at::ScalarType partial_dtype(at::ScalarType dtype) {
  return dtype == at::ScalarType::Half || dtype == at::ScalarType::BFloat16 ? at::ScalarType::Float : dtype;
}

void reduce_partial(std::byte* output, std::span<const std::byte* const> sources, size_t count, at::ScalarType dtype, ReduceOp op) {
  check_reducible(dtype, op);
  with_type(dtype, [&]<class T>(T) { reduce_partial_typed<T>(output, sources, count, op); });
}

void finish(std::byte* output, const std::byte* partial, size_t count, at::ScalarType dtype, int divisor) {
  with_type(dtype, [&]<class T>(T) { finish_typed<T>(output, partial, count, divisor); });
}

}  // namespace levin::detail
