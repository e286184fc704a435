#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/config.h"

namespace levin {

/// How batches are made.
struct DataLoaderOptions {
  std::optional<int64_t> batch_size = {};
  std::optional<int64_t> global_batch_size = {};
  bool shuffle = true;
  bool drop_last = false;
  int64_t num_workers = 0;
  int64_t prefetch_factor = 2;
  std::optional<int64_t> shuffle_block = {};
  int64_t shuffle_mixed_blocks = 16;

  /// batch_size, or 32 when no size is given; 0 with a global_batch_size.
  int64_t samples_per_rank() const { return batch_size.value_or(global_batch_size ? 0 : 32); }
  /// The same in the data set's order and with every sample.
  DataLoaderOptions for_evaluation() const;
  /// ConfigError when both sizes are given.
  void validate() const;
};
LEVIN_CONFIG(DataLoaderOptions, (batch_size, "samples per rank and micro-batch; 32 when neither size is given", at_least(1)),
             (global_batch_size, "samples per optimizer step, over all ranks and micro-batches; instead of batch_size", at_least(1)),
             (shuffle, "draw a new order each epoch; evaluation never does"),
             (drop_last, "leave out the samples of an epoch that do not fill a batch; evaluation never does"),
             (num_workers, "threads that read ahead; 0: the training thread reads, and a stop waits for the read", between(0, 1024)),
             (prefetch_factor, "batches that each of them reads ahead", between(1, 1024)),
             (shuffle_block, "shuffle blocks of this many neighbouring samples, for data that are read fast in order; null: all samples",
              at_least(1)),
             (shuffle_mixed_blocks, "blocks whose samples are shuffled together", at_least(1)))

}  // namespace levin
