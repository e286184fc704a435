#pragma once
#include <cstdint>
#include <memory>

#include "levin/core/batch.h"

namespace levin {

/// Whose samples a stream has, and of which pass.
struct StreamPartition {
  int64_t rank = 0, world_size = 1;
  int64_t epoch = 0;
  uint64_t seed = 0;  ///< the same on all ranks
};

/// One pass over a rank's samples. Used by one thread, which need not be the training's.
class SampleStream {
 public:
  virtual ~SampleStream() = default;
  /// Fills `into` with the next `most` samples, or with fewer where it ends, and returns how many; 0: there are no more. `into` may hold
  /// the tensors of an earlier call: ask for memory through reuse_tensor.
  virtual int64_t next(int64_t most, Batch& into) = 0;
};

/// Samples that come one after the other, without indices and perhaps without an end. Ranks may have different numbers of them.
class IterableDataset {
 public:
  virtual ~IterableDataset() = default;
  /// The samples of one rank: no two ranks get the same one, unless that is meant. A rank has at least one.
  virtual std::unique_ptr<SampleStream> open(const StreamPartition& partition) const = 0;
};

}  // namespace levin
