#include "levin/data/data_loader.h"

#include <ATen/core/grad_mode.h>

#include "levin/core/error.h"
#include "levin/core/mix_seed.h"
#include "levin/data/prefetcher.h"

namespace levin {
namespace {

BatchPlan make_plan(const Dataset* dataset, const DataLoaderOptions& options, const LoaderPartition& partition) {
  if (!dataset) throw UsageError("data", "a DataLoader needs a data set, not null");
  if (partition.rank < 0 || partition.rank >= partition.world_size)
    throw UsageError("data", fmt::format("rank {} of {} ranks is out of range", partition.rank, partition.world_size));
  check_config(options);

  BatchPlanInput input;
  input.samples = dataset->size();
  input.global_batch_size = options.global_batch_size.value_or(0);
  input.batch_size = options.samples_per_rank();
  input.world_size = partition.world_size;
  input.accumulate = partition.accumulate;
  input.drop_last = options.drop_last;
  const BatchPlan plan(input);
  if (input.samples == 0) throw DataError("the data set has no samples", "give a data set with at least one");
  if (plan.batches() == 0)
    throw ConfigError(fmt::format("drop_last leaves no batch: {} samples for {} of {} on {} ranks", input.samples,
                                  input.batch_size ? "batch_size" : "global_batch_size",
                                  input.batch_size ? input.batch_size : input.global_batch_size, input.world_size),
                      "use smaller batches, or set drop_last to false");
  return plan;
}

}  // namespace

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const DataLoaderOptions& options, const LoaderPartition& partition)
    : dataset_(std::move(dataset)), options_(options), partition_(partition), plan_(make_plan(dataset_.get(), options, partition)) {
  if (options.num_workers > 0)
    prefetcher_ = std::make_unique<detail::Prefetcher>([this](int64_t number, Batch& into) { fill(number, into); }, options.num_workers,
                                                       options.num_workers * options.prefetch_factor);
  go_to(0, 0);
}

DataLoader::~DataLoader() = default;

void DataLoader::set_epoch(int64_t epoch) { go_to(epoch, 0); }

void DataLoader::go_to(int64_t epoch, int64_t position) {
  if (prefetching_) prefetcher_->stop();  // its threads read the sampler and the epoch
  prefetching_ = false;
  epoch_ = epoch;
  position_ = position;
  const int64_t samples = dataset_->size();
  sampler_ = !options_.shuffle ? Sampler::sequential(samples)
             : !options_.shuffle_block
                 ? Sampler::shuffled(samples, partition_.seed, epoch)
                 : Sampler::shuffled_in_blocks(samples, *options_.shuffle_block, options_.shuffle_mixed_blocks, partition_.seed, epoch);
}

void DataLoader::read_ahead() {
  if (!prefetching_) prefetcher_->start(position_, plan_.batches());
  prefetching_ = true;
}

bool DataLoader::wait(int64_t batches, std::chrono::milliseconds most) {
  if (!prefetcher_ || position_ == plan_.batches()) return true;
  read_ahead();
  return prefetcher_->wait(batches, most);
}

bool DataLoader::stop_reading(std::chrono::milliseconds most) {
  if (!prefetching_) return true;
  if (!prefetcher_->stop(most)) return false;
  prefetching_ = false;
  return true;
}

Batch* DataLoader::next() {
  if (position_ == plan_.batches()) return nullptr;
  if (!prefetcher_) {
    fill(position_, batch_);
    ++position_;
    return &batch_;
  }
  read_ahead();
  try {
    Batch& batch = prefetcher_->take();
    ++position_;
    return &batch;
  } catch (...) {
    prefetcher_->stop();
    prefetching_ = false;
    throw;
  }
}

void DataLoader::fill(int64_t number, Batch& into) const {
  const at::NoGradGuard no_grad;
  into.clear_marks();
  const uint64_t epoch_seed = mix_bits(mix_seed(partition_.seed) + static_cast<uint64_t>(epoch_));
  const auto range = plan_.range(number, partition_.rank);
  if (range.empty()) {  // two rows, for layers that need more than one
    const int64_t rows[] = {0, dataset_->size() > 1 ? 1 : 0};
    dataset_->get_for_epoch(rows, epoch_seed, into);
    into.set_padding(true);
    return;
  }
  into.mutable_indices().resize(static_cast<size_t>(range.size()));
  sampler_.fill(range.begin, into.mutable_indices());
  dataset_->get_for_epoch(into.indices(), epoch_seed, into);
}

LoaderState DataLoader::state() const {
  return {epoch_, position_ == plan_.batches() ? plan_.samples() : plan_.global_range(position_).begin};
}

int64_t DataLoader::restore(const LoaderState& state) {
  const auto position = plan_.batch_at(state.samples);
  if (position < 0)
    throw ConfigError(fmt::format("cannot resume at sample {} of epoch {}: no step of {} samples, of {} in the epoch, starts there",
                                  state.samples, state.epoch, plan_.step_samples(), plan_.samples()),
                      "keep the global batch of the run that is resumed");
  go_to(state.epoch, position);
  return position;
}

}  // namespace levin
