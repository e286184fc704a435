#pragma once
#include <cstdint>

#include "levin/metrics/metric.h"

namespace levin {

/// Sums of float64 terms without rounding, in a state of integers. The total is the exact sum, rounded once to the nearest float64: it has
/// the same bits for any order of the terms, any batch sizes, and any number of ranks. A NaN or infinite term makes the total NaN or
/// infinite.
///
///     MetricState& errors_ = add_state("errors", StateReduction::sum, ExactSum::zero());
///     …
///     ExactSum(errors_).add(terms);
///
/// A term is cut into words of 32 bits at fixed positions; each word has its own integer sum. add() moves carries to the next word, so
/// that the sums of a million ranks stay below 2^53, up to which MetricSync adds integers exactly.
class ExactSum {
 public:
  /// Of a state that began as zero().
  explicit ExactSum(MetricState& state) : state_(state) {}

  /// The initial value for `count` sums side by side: int64 [count, words].
  static Tensor zero(int64_t count = 1);

  /// Adds floating or integral terms: [n, count], of any shape for one sum. Terms of other dtypes are converted to float64 first. At most
  /// 2^30 terms at once. Waits for no device.
  void add(const Tensor& terms);

  /// The sum `index` of a state's value.
  static double total(const Tensor& state, int64_t index = 0);
  /// What total() has rounded away, rounded itself: total + remainder is the sum to 106 bits. 0 where the total is not finite.
  static double remainder(const Tensor& state, int64_t index = 0);

 private:
  MetricState& state_;
};

}  // namespace levin
