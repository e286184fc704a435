#pragma once
#include <cstdint>

namespace levin {

/// What all ranks together bring to a step.
struct StepTotals {
  double weight = 0;     ///< of all ranks and backward calls
  uint32_t signals = 0;  ///< every rank's signals, or-ed
};

/// What the gradients of several backward calls of a step become: the mean over all their samples, as of micro-batches; or the sum of the
/// calls' means, as PyTorch adds up losses.
enum class Accumulation { mean, sum };

}  // namespace levin
