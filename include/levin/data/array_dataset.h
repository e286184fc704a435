#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "levin/data/dataset.h"
#include "levin/data/file_array.h"

namespace levin {

/// Arrays of files whose first dimension is the sample: a batch has a tensor of each name, and a row for each index. They stay in their
/// files; rows that follow each other are read at once.
class ArrayDataset : public Dataset {
 public:
  using Arrays = std::vector<std::pair<std::string, std::unique_ptr<const FileArray>>>;
  /// DataError for an array without rows, and where numbers of rows differ; UsageError for no arrays.
  explicit ArrayDataset(Arrays arrays);

  int64_t size() const override { return arrays_.front().second->rows(); }
  void get(std::span<const int64_t> indices, Batch& into) const override;

 private:
  Arrays arrays_;
};

}  // namespace levin
