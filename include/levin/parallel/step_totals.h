#pragma once
#include <cstdint>

namespace levin {

/// The totals of a step over all ranks.
struct StepTotals {
  double weight = 0;     ///< of all ranks and backward calls
  uint32_t signals = 0;  ///< every rank's signals, or-ed
};

/// How the gradients of several backward calls of a step are combined: the mean over all their samples, as of micro-batches; or the sum of
/// the calls' means, as PyTorch adds up losses.
enum class Accumulation { mean, sum };

}  // namespace levin
