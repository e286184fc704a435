#include "levin/data/stream_loader.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <limits>

#include "levin/comm/communicator.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/data/prefetcher.h"

namespace levin {
namespace {

// The sizes of a rank's batches in a full step.
std::vector<int64_t> batch_sizes(const DataLoaderOptions& options, const LoaderPartition& partition) {
  check_config(options);
  if (!options.global_batch_size) return {options.samples_per_rank()};
  BatchPlanInput input;
  input.samples = input.global_batch_size = *options.global_batch_size;
  input.world_size = partition.world_size;
  input.accumulate = partition.accumulate;
  const BatchPlan plan(input);
  std::vector<int64_t> sizes;
  for (int64_t batch = 0; batch < plan.batches(); batch++) sizes.push_back(plan.range(batch, partition.rank).size());
  return sizes;
}

}  // namespace

StreamLoader::StreamLoader(std::shared_ptr<const IterableDataset> dataset, const DataLoaderOptions& options,
                           const LoaderPartition& partition, Communicator& communicator)
    : dataset_(std::move(dataset)), partition_(partition), sizes_(batch_sizes(options, partition)), communicator_(&communicator.cpu()) {
  if (options.num_workers > 0)
    prefetcher_ = std::make_unique<detail::Prefetcher>([this](int64_t number, Batch& into) { fill(number, into); }, 1,
                                                       options.num_workers * options.prefetch_factor);
}

StreamLoader::~StreamLoader() = default;

void StreamLoader::set_epoch(int64_t epoch) {
  if (prefetcher_) prefetcher_->stop();  // its thread reads the stream
  stream_.reset();
  epoch_ = epoch;
  read_ = taken_ = 0;
  reading_ = open_ = at_end_ = false;
}

void StreamLoader::start_reading() {
  if (reading_) return;
  stream_ = dataset_->open({partition_.rank, partition_.world_size, epoch_, partition_.seed});
  if (!stream_) throw UsageError("data", "IterableDataset::open returned null");
  ended_ = false;
  counted_ = 0;
  if (prefetcher_) prefetcher_->start(0, std::numeric_limits<int64_t>::max());
  reading_ = true;
}

void StreamLoader::open() {
  start_reading();
  open_ = true;
  read_ahead();
  if (!more_)
    throw DataError(fmt::format("the stream of rank {} of {} has no samples in epoch {}", partition_.rank, partition_.world_size, epoch_),
                    "give each rank at least one: distribute smaller pieces, or start fewer ranks");
}

// A stream that has ended makes padding batches, and is not asked again.
void StreamLoader::fill(int64_t number, Batch& into) {
  const at::NoGradGuard no_grad;
  into.clear_marks();
  const int64_t most = sizes_[static_cast<size_t>(number) % sizes_.size()];
  const int64_t samples = ended_ ? 0 : stream_->next(most, into);
  ended_ = samples == 0;
  into.set_padding(ended_);
  const bool numbered = !into.indices().empty();
  if (samples < 0 || samples > most || (samples > 0 && (into.size() != samples || (numbered && std::ssize(into.indices()) != samples))))
    throw UsageError("data", fmt::format("SampleStream::next({}) returned {}, but the batch has {} samples and {} indices", most, samples,
                                         samples > 0 ? into.size() : 0, into.indices().size()));
  if (!numbered)
    for (int64_t i = 0; i < samples; i++) into.mutable_indices().push_back((counted_ + i) * partition_.world_size + partition_.rank);
  counted_ += samples;
}

void StreamLoader::read_ahead() {
  if (prefetcher_)
    std::swap(ahead_, prefetcher_->take());
  else
    fill(read_, ahead_);
  read_++;
  more_ = !ahead_.padding();
  if (!more_ && prefetcher_) prefetcher_->stop();
}

// Two rows of the last batch, for layers that need more than one.
void StreamLoader::make_padding() {
  const Tensor rows = at::tensor({int64_t{0}, std::min<int64_t>(1, current_.size() - 1)}, at::kLong);
  Batch padding;
  for (const auto& [name, tensor] : current_.tensors()) padding.set(name, tensor.index_select(0, rows.to(tensor.device())));
  padding.set_padding(true);
  current_ = std::move(padding);
}

// The first batch is given when the second is there.
bool StreamLoader::wait(int64_t batches, std::chrono::milliseconds most) {
  if (!prefetcher_ || at_end_ || (open_ && !more_)) return true;
  start_reading();
  return prefetcher_->wait(open_ ? batches : batches + 1, most);
}

bool StreamLoader::stop_reading(std::chrono::milliseconds most) { return !prefetcher_ || prefetcher_->stop(most); }

Batch* StreamLoader::next() {
  if (at_end_) return nullptr;
  if (!open_) open();
  const int64_t samples = more_ ? ahead_.size() : 0;
  if (more_) {
    std::swap(current_, ahead_);
    read_ahead();
  } else if (!current_.padding()) {
    make_padding();
  }
  const auto sums = all_sum(communicator_, std::vector<int64_t>{samples, more_ ? 1 : 0});
  global_samples_ = sums[0];
  taken_ += global_samples_;
  at_end_ = sums[1] == 0;
  return &current_;
}

int64_t StreamLoader::restore(const LoaderState& state) {
  set_epoch(state.epoch);
  int64_t batches = 0;
  while (taken_ < state.samples && next()) batches++;
  if (taken_ != state.samples)
    throw ConfigError(
        fmt::format("cannot resume at sample {} of epoch {}: the batches of the streams end at {}", state.samples, state.epoch, taken_),
        "keep the streams, the batch size and the ranks of the run that is resumed");
  return batches;
}

}  // namespace levin
