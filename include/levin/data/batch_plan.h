#pragma once
#include <cstdint>

namespace levin {

/// Positions [begin, end) of the global order.
struct SampleRange {
  int64_t begin = 0, end = 0;
  int64_t size() const noexcept { return end - begin; }
  bool empty() const noexcept { return begin == end; }
};

/// The input of a plan. One of batch_size and global_batch_size is 0.
struct BatchPlanInput {
  int64_t samples = 0;            ///< in the data set
  int64_t batch_size = 0;         ///< samples per rank and micro-batch
  int64_t global_batch_size = 0;  ///< samples per optimizer step, over all ranks and micro-batches
  int64_t world_size = 1;
  int64_t accumulate = 1;  ///< micro-batches per optimizer step
  /// Drop what does not fill a batch_size on every rank, or, with a global_batch_size, a step.
  bool drop_last = false;
};

/// Which samples each rank takes in each micro-batch of an epoch, as arithmetic. A step's samples are contiguous in the global order and
/// cut into near-equal parts, first over its micro-batches, then over the ranks; the larger parts come first. No sample is taken twice,
/// and none is left out but for drop_last. All ranks have the same number of micro-batches; in a short one, ranks at the end may have an
/// empty range. With a global_batch_size the samples of a step do not depend on world_size or accumulate.
class BatchPlan {
 public:
  /// ConfigError for sizes below 1, for both or neither size, and for a global batch that cannot give each part a sample.
  explicit BatchPlan(const BatchPlanInput& input);

  /// Micro-batches per epoch, on every rank.
  int64_t batches() const noexcept { return batches_; }
  /// Optimizer steps per epoch; the last may be short in samples and in micro-batches.
  int64_t steps() const noexcept { return (batches_ + accumulate_ - 1) / accumulate_; }
  /// Samples of a full step.
  int64_t step_samples() const noexcept { return step_samples_; }
  /// Samples of an epoch: all, but for drop_last.
  int64_t samples() const noexcept { return samples_; }
  int64_t step_of(int64_t batch) const noexcept { return batch / accumulate_; }

  /// The samples of micro-batch `batch` over all ranks.
  SampleRange global_range(int64_t batch) const noexcept;
  /// The samples of micro-batch `batch` on `rank`.
  SampleRange range(int64_t batch, int64_t rank) const noexcept;
  /// The micro-batch that starts at sample `begin` of the global order; batches() for samples(); -1 when none starts there.
  int64_t batch_at(int64_t begin) const noexcept;

 private:
  int64_t world_size_, accumulate_;
  int64_t step_samples_ = 0, samples_ = 0, batches_ = 0;
  int64_t last_step_batches_ = 0;  // of the short last step; 0: no short step
};

}  // namespace levin
