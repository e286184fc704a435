#pragma once
#include <memory>
#include <vector>

#include "levin/data/dataset.h"

namespace levin {

/// Samples [begin, end) of another data set.
class SliceDataset : public Dataset {
 public:
  /// UsageError for a range that is not inside of the data set's.
  SliceDataset(std::shared_ptr<const Dataset> source, int64_t begin, int64_t end);

  int64_t size() const override { return end_ - begin_; }
  void get(std::span<const int64_t> indices, Batch& into) const override;
  void get_for_epoch(std::span<const int64_t> indices, uint64_t epoch_seed, Batch& into) const override;

 private:
  std::vector<int64_t> indices_of_source(std::span<const int64_t> indices) const;

  std::shared_ptr<const Dataset> source_;
  int64_t begin_, end_;
};

}  // namespace levin
