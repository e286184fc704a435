#include "levin/data/transform_dataset.h"

namespace levin {

void TransformDataset::get(std::span<const int64_t> indices, Batch& into) const {
  std::unique_ptr<Batch> batch;
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      batch = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!batch) batch = std::make_unique<Batch>();
  batch->clear_marks();
  batch->mutable_indices().assign(indices.begin(), indices.end());
  source_->get(indices, *batch);
  transform_(*batch, into);
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(batch));
}

}  // namespace levin
