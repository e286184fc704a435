#include "levin/data/batch_plan.h"

#include <algorithm>

#include "levin/core/error.h"

namespace levin {
namespace {

// Part `index` of `count` near-equal parts of a range; the first parts are the larger ones.
SampleRange part(SampleRange whole, int64_t index, int64_t count) {
  const int64_t least = whole.size() / count, larger = whole.size() % count;
  const int64_t begin = whole.begin + index * least + std::min(index, larger);
  return {begin, begin + least + (index < larger ? 1 : 0)};
}

int64_t ceil_divide(int64_t value, int64_t by) { return value / by + (value % by != 0); }

void check(const BatchPlanInput& input) {
  if (input.samples < 0 || input.world_size < 1)
    throw UsageError("data", fmt::format("cannot divide {} samples among {} ranks", input.samples, input.world_size));
  if (input.accumulate < 1) throw ConfigError(fmt::format("accumulate_grad_batches is {}; it must be at least 1", input.accumulate));
  const bool per_rank = input.batch_size != 0, global = input.global_batch_size != 0;
  if (per_rank && global)
    throw ConfigError(fmt::format("batch_size is {} and global_batch_size is {}", input.batch_size, input.global_batch_size),
                      "give one of them");
  if (!per_rank && !global) throw ConfigError("neither batch_size nor global_batch_size is given", "give one of them");
  if (input.batch_size < 0) throw ConfigError(fmt::format("batch_size is {}; it must be at least 1", input.batch_size));
  if (input.global_batch_size < 0)
    throw ConfigError(fmt::format("global_batch_size is {}; it must be at least 1", input.global_batch_size));
}

}  // namespace

BatchPlan::BatchPlan(const BatchPlanInput& input) : world_size_(input.world_size), accumulate_(input.accumulate) {
  check(input);
  int64_t parts = 0, micro_samples = 0;  // samples of the largest micro-batch, over all ranks
  bool overflow = __builtin_mul_overflow(world_size_, accumulate_, &parts);
  if (input.batch_size != 0) {
    overflow = overflow || __builtin_mul_overflow(input.batch_size, world_size_, &micro_samples) ||
               __builtin_mul_overflow(micro_samples, accumulate_, &step_samples_);
  } else if (!overflow) {
    step_samples_ = input.global_batch_size;
    micro_samples = ceil_divide(step_samples_, accumulate_);
    if (step_samples_ < parts)
      throw ConfigError(fmt::format("global_batch_size is {}, fewer than the {} parts of a step ({} ranks x accumulate_grad_batches {})",
                                    step_samples_, parts, world_size_, accumulate_),
                        "enlarge it, or use fewer ranks or micro-batches");
  }
  if (overflow)
    throw ConfigError(fmt::format("batch_size {} on {} ranks with accumulate_grad_batches {} exceeds 64 bits", input.batch_size,
                                  world_size_, accumulate_));

  const int64_t full_steps = input.samples / step_samples_;
  int64_t rest = input.samples % step_samples_;
  if (input.drop_last) rest -= input.batch_size != 0 ? rest % micro_samples : rest;
  last_step_batches_ = ceil_divide(rest, micro_samples);
  samples_ = full_steps * step_samples_ + rest;
  batches_ = full_steps * accumulate_ + last_step_batches_;
}

SampleRange BatchPlan::global_range(int64_t batch) const noexcept {
  const int64_t step = batch / accumulate_, begin = step * step_samples_;
  const bool full = samples_ - begin >= step_samples_;
  return part({begin, full ? begin + step_samples_ : samples_}, batch % accumulate_, full ? accumulate_ : last_step_batches_);
}

SampleRange BatchPlan::range(int64_t batch, int64_t rank) const noexcept { return part(global_range(batch), rank, world_size_); }

int64_t BatchPlan::batch_at(int64_t begin) const noexcept {
  if (begin == samples_) return batches_;
  if (begin < 0 || begin > samples_) return -1;
  // Micro-batches start in rising order and none is empty: search among those of the step.
  int64_t low = begin / step_samples_ * accumulate_, high = std::min(low + accumulate_, batches_);
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (global_range(middle).begin < begin)
      low = middle + 1;
    else
      high = middle;
  }
  return low < batches_ && global_range(low).begin == begin ? low : -1;
}

}  // namespace levin
