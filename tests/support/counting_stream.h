#pragma once
// A stream whose samples say where they come from.
#include <ATen/ops/arange.h>
#include <ATen/ops/sin.h>

#include <algorithm>
#include <vector>

#include "levin/data/dataset.h"
#include "levin/data/iterable_dataset.h"

namespace levin::test {

/// Rank r has samples[r] samples, with "index" 10000 * epoch + 1000 * rank + 0, 1, 2, …, and "x" [4] and "y" [1] made of it.
class CountingStream : public IterableDataset {
 public:
  explicit CountingStream(std::vector<int64_t> samples) : samples_(std::move(samples)) {}

  std::unique_ptr<SampleStream> open(const StreamPartition& partition) const override {
    return std::make_unique<Stream>(10000 * partition.epoch + 1000 * partition.rank, samples_[static_cast<size_t>(partition.rank)]);
  }

 private:
  struct Stream : SampleStream {
    Stream(int64_t begin, int64_t samples) : next_(begin), end_(begin + samples) {}
    int64_t next(int64_t most, Batch& into) override {
      const int64_t count = std::min(most, end_ - next_);
      if (count == 0) return 0;
      const Tensor index = at::arange(next_, next_ + count, at::kFloat), x = at::sin(index.view({-1, 1}).add(at::arange(4, at::kFloat)));
      into.set("x", x);
      into.set("y", x.sum(1, true));
      into.set("index", index);
      next_ += count;
      return count;
    }
    int64_t next_, end_;
  };
  std::vector<int64_t> samples_;
};

}  // namespace levin::test
