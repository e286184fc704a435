#include "levin/data/slice_dataset.h"

#include <fmt/format.h>

#include <vector>

#include "levin/core/error.h"

namespace levin {

SliceDataset::SliceDataset(std::shared_ptr<const Dataset> source, int64_t begin, int64_t end)
    : source_(std::move(source)), begin_(begin), end_(end) {
  if (begin < 0 || end < begin || end > source_->size())
    throw UsageError("data", fmt::format("samples {} to {} of a data set that has {}", begin, end, source_->size()));
}

void SliceDataset::get(std::span<const int64_t> indices, Batch& into) const {
  std::vector<int64_t> shifted;
  shifted.reserve(indices.size());
  for (const auto index : indices) {
    if (index < 0 || index >= size())
      throw UsageError("data", fmt::format("sample {} is out of range: the data set has {}", index, size()));
    shifted.push_back(begin_ + index);
  }
  source_->get(shifted, into);
}

}  // namespace levin
