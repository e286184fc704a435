#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "levin/data/dataset.h"

namespace levin {

/// A data set whose batches go through a function, in the thread that reads them.
class TransformDataset : public Dataset {
 public:
  /// Makes `into` from `source`, whose indices are set. Called by several threads at once. Tensors of `source` may be handed on as they
  /// are; memory for others comes from reuse_tensor(into, …), so that steady batches allocate nothing.
  using Transform = std::function<void(const Batch& source, Batch& into)>;

  /// The same with random numbers: a seed for each row, for a SampleRandom. The seed of a sample depends on the loader's seed, the epoch
  /// and the sample's index: not on the rank, the number of ranks, the batch or the thread. Outside a DataLoader every get is of one epoch.
  using RandomTransform = std::function<void(const Batch& source, std::span<const uint64_t> seeds, Batch& into)>;

  TransformDataset(std::shared_ptr<const Dataset> source, Transform transform)
      : source_(std::move(source)), transform_(std::move(transform)) {}
  TransformDataset(std::shared_ptr<const Dataset> source, RandomTransform transform)
      : source_(std::move(source)), random_transform_(std::move(transform)) {}

  int64_t size() const override { return source_->size(); }
  void get(std::span<const int64_t> indices, Batch& into) const override { get_for_epoch(indices, 0, into); }
  void get_for_epoch(std::span<const int64_t> indices, uint64_t epoch_seed, Batch& into) const override;

 private:
  std::shared_ptr<const Dataset> source_;
  Transform transform_;  // one of the two
  RandomTransform random_transform_;
  // Batches of the source to be filled again: as many as threads have read at once.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Batch>> free_;
};

}  // namespace levin
