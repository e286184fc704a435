#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "levin/data/dataset.h"

namespace levin {

/// A data set whose batches go through a function, in the thread that reads them.
class TransformDataset : public Dataset {
 public:
  /// Makes `into` from `source`, whose indices are set. Called by several threads at once. Tensors of `source` may be handed on as they
  /// are; memory for others comes from reuse_tensor(into, …), so that steady batches allocate nothing.
  using Transform = std::function<void(const Batch& source, Batch& into)>;

  TransformDataset(std::shared_ptr<const Dataset> source, Transform transform)
      : source_(std::move(source)), transform_(std::move(transform)) {}

  int64_t size() const override { return source_->size(); }
  void get(std::span<const int64_t> indices, Batch& into) const override;

 private:
  std::shared_ptr<const Dataset> source_;
  Transform transform_;
  // Batches of the source to be filled again: as many as threads have read at once.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Batch>> free_;
};

}  // namespace levin
