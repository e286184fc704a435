#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "levin/data/batch_plan.h"
#include "levin/data/data_loader_options.h"
#include "levin/data/dataset.h"
#include "levin/data/loader.h"
#include "levin/data/sampler.h"

namespace levin {

namespace detail {
class Prefetcher;
}

/// The rank that a loader serves, and the seed of its order.
struct LoaderPartition {
  int64_t rank = 0, world_size = 1;
  int64_t accumulate = 1;  ///< micro-batches per optimizer step
  uint64_t seed = 0;       ///< the same on all ranks
};

/// The batches of one rank, epoch by epoch: see BatchPlan for which samples they hold, and Sampler for their order. A rank without
/// samples in a micro-batch gets a padding batch (Batch::padding) of two rows. Used by one thread.
class DataLoader : public Loader {
 public:
  /// ConfigError for options that make no batch; DataError for a data set without samples.
  DataLoader(std::shared_ptr<const Dataset> dataset, const DataLoaderOptions& options, const LoaderPartition& partition = {});
  ~DataLoader() override;

  void set_epoch(int64_t epoch) override;
  /// A call after one that threw tries the same batch again.
  Batch* next() override;
  bool reads_ahead() const override { return prefetcher_ != nullptr; }
  bool wait(int64_t batches, std::chrono::milliseconds most) override;
  bool stop_reading(std::chrono::milliseconds most) override;
  std::optional<int64_t> length() const override { return batches(); }
  bool at_end() const override { return position_ == batches(); }
  int64_t global_samples() const override { return plan_.global_range(position_ - 1).size(); }

  /// Micro-batches per epoch, the same on all ranks.
  int64_t batches() const noexcept { return plan_.batches(); }
  /// The number in the epoch of the batch that next() gives.
  int64_t position() const noexcept { return position_; }
  const BatchPlan& plan() const noexcept { return plan_; }
  const Dataset& dataset() const noexcept { return *dataset_; }

  int64_t step_samples() const override { return plan_.step_samples(); }
  LoaderState state() const override;
  /// Without reading what lies before.
  int64_t restore(const LoaderState& state) override;

 private:
  void go_to(int64_t epoch, int64_t position);
  void read_ahead();
  void fill(int64_t number, Batch& into) const;

  std::shared_ptr<const Dataset> dataset_;
  DataLoaderOptions options_;
  LoaderPartition partition_;
  BatchPlan plan_;
  Sampler sampler_;
  int64_t epoch_ = 0, position_ = 0;
  Batch batch_;  // without workers
  bool prefetching_ = false;
  std::unique_ptr<detail::Prefetcher> prefetcher_;
};

}  // namespace levin
