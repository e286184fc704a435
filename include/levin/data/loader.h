#pragma once
#include <chrono>
#include <cstdint>
#include <optional>

#include "levin/core/batch.h"

namespace levin {

/// A loader's position between two batches. It does not depend on the number of ranks, but for a stream, which is cut by ranks.
struct LoaderState {
  int64_t epoch = 0;
  int64_t samples = 0;  ///< of the epoch's global order that all ranks together have taken
  bool operator==(const LoaderState&) const = default;
};

/// The batches of one rank, epoch by epoch, the same number on all ranks: a rank without samples gets a padding batch (Batch::padding).
/// Used by one thread.
class Loader {
 public:
  virtual ~Loader() = default;

  /// Goes to the start of an epoch.
  virtual void set_epoch(int64_t epoch) = 0;
  /// The next batch, or null at the end of the epoch. Valid until the next call; tensors that the caller keeps stay unchanged.
  /// Rethrows exceptions of reading the data.
  virtual Batch* next() = 0;
  /// Whether threads read ahead of next().
  virtual bool reads_ahead() const { return false; }
  /// Starts to read ahead, and waits at most that long until the next `batches` are ready, or as many of them as are read ahead. True
  /// also where next() does not wait for a thread: without threads, at the end of the epoch, and for an error, which next() throws. Local.
  virtual bool wait(int64_t /*batches*/, std::chrono::milliseconds /*most*/) { return true; }
  /// Ends reading ahead. False: a read is still under way after that time, and the loader must outlive it.
  virtual bool stop_reading(std::chrono::milliseconds /*most*/) { return true; }
  /// Batches of an epoch; null if only reading the data can tell.
  virtual std::optional<int64_t> length() const = 0;
  /// Whether the batch that next() gave last is the epoch's last.
  virtual bool at_end() const = 0;
  /// Samples of that batch over all ranks.
  virtual int64_t global_samples() const = 0;
  /// Samples of a whole step over all ranks and micro-batches: what a training that resumes on other ranks must keep. 0 where ranks'
  /// parts do not make up a common order, so that the ranks must be as many as before.
  virtual int64_t step_samples() const = 0;

  virtual LoaderState state() const = 0;
  /// Goes to a saved position, and returns the number of batches before it in the epoch. ConfigError when no micro-batch starts there.
  virtual int64_t restore(const LoaderState& state) = 0;
};

}  // namespace levin
