#pragma once
#include <memory>

#include "levin/data/dataset.h"

namespace levin {

/// Samples [begin, end) of another data set.
class SliceDataset : public Dataset {
 public:
  /// UsageError for a range that is not inside of the data set's.
  SliceDataset(std::shared_ptr<const Dataset> source, int64_t begin, int64_t end);

  int64_t size() const override { return end_ - begin_; }
  void get(std::span<const int64_t> indices, Batch& into) const override;

 private:
  std::shared_ptr<const Dataset> source_;
  int64_t begin_, end_;
};

}  // namespace levin
