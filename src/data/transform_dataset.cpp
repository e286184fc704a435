#include "levin/data/transform_dataset.h"

#include "levin/core/mix_seed.h"

namespace levin {

void TransformDataset::get_for_epoch(std::span<const int64_t> indices, uint64_t epoch_seed, Batch& into) const {
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
  source_->get_for_epoch(indices, mix_seed(epoch_seed), *batch);  // a source that draws, too, has seeds unlike these
  if (random_transform_) {
    std::vector<uint64_t> seeds;
    for (const int64_t index : indices) seeds.push_back(mix_seed(epoch_seed ^ mix_seed(static_cast<uint64_t>(index))));
    random_transform_(*batch, seeds, into);
  } else {
    transform_(*batch, into);
  }
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(batch));
}

}  // namespace levin
