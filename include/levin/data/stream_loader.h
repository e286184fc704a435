#pragma once
#include <memory>
#include <vector>

#include "levin/data/batch_plan.h"
#include "levin/data/data_loader.h"
#include "levin/data/iterable_dataset.h"

namespace levin {

class Communicator;

/// The batches of a stream. An epoch ends when every rank's stream has ended: the ranks agree on it at each batch, so next() is
/// collective; a rank whose stream has ended earlier gets padding batches. Streams are read in order, so shuffle and drop_last mean
/// nothing, and any num_workers are one thread, which reads that much ahead. Samples to which the stream gives no indices are numbered: the
/// n-th of rank r gets n * ranks + r.
class StreamLoader : public Loader {
 public:
  /// ConfigError for options that make no batch.
  StreamLoader(std::shared_ptr<const IterableDataset> dataset, const DataLoaderOptions& options, const LoaderPartition& partition,
               Communicator& communicator);
  ~StreamLoader() override;

  void set_epoch(int64_t epoch) override;
  /// DataError on a rank whose stream has no sample at all.
  Batch* next() override;
  bool reads_ahead() const override { return prefetcher_ != nullptr; }
  /// Opens the stream, too.
  bool wait(int64_t batches, std::chrono::milliseconds most) override;
  bool stop_reading(std::chrono::milliseconds most) override;
  std::optional<int64_t> length() const override { return std::nullopt; }
  bool at_end() const override { return at_end_; }
  int64_t global_samples() const override { return global_samples_; }
  int64_t step_samples() const override { return 0; }
  LoaderState state() const override { return {epoch_, taken_}; }
  /// Reads the stream from its start up to there, collectively, as next() does.
  int64_t restore(const LoaderState& state) override;

 private:
  void open();
  void start_reading();
  void fill(int64_t number, Batch& into);
  void read_ahead();
  void make_padding();

  std::shared_ptr<const IterableDataset> dataset_;
  LoaderPartition partition_;
  std::vector<int64_t> sizes_;  // of this rank's batches in a step
  Communicator* communicator_;
  int64_t epoch_ = 0, read_ = 0, global_samples_ = 0, taken_ = 0;
  bool reading_ = false;  // the stream is open
  bool open_ = false;     // its first batch was taken
  bool more_ = false, at_end_ = false;
  bool ended_ = false;   // the stream; read by either thread
  int64_t counted_ = 0;  // its samples so far; likewise
  Batch current_, ahead_;
  std::unique_ptr<SampleStream> stream_;
  std::unique_ptr<detail::Prefetcher> prefetcher_;  // after the stream, which its thread reads
};

}  // namespace levin
