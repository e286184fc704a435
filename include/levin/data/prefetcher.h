#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "levin/core/batch.h"

namespace levin::detail {

/// Threads that fill batches ahead of one consumer, into a ring of reusable batches. Batches come out in order, however many threads
/// there are and whatever each takes. The threads live as long as the prefetcher and sleep when the ring is full.
class Prefetcher {
 public:
  /// Makes batch `number`; called by several threads at once with different numbers.
  using Fill = std::function<void(int64_t number, Batch& into)>;

  /// `depth` batches are made ahead of the one that the consumer has.
  Prefetcher(Fill fill, int64_t threads, int64_t depth);
  /// Waits for the fills under way, and drops what is ready.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

  /// Makes the batches [first, last) from now on. Stops first.
  void start(int64_t first, int64_t last);
  /// Returns when no fill is under way; what is ready is dropped.
  void stop();
  /// The same, but waits at most that long: false where a fill is still under way.
  bool stop(std::chrono::milliseconds most);
  /// Waits at most that long until the next `batches`, or as many of them as the ring holds, are filled; an error ends the wait, too.
  bool wait(int64_t batches, std::chrono::milliseconds most);
  /// The next batch, valid until the next call of any of these; waits for it, and rethrows what its fill threw. Not beyond `last`.
  Batch& take();

 private:
  struct Slot {
    Batch batch;
    std::exception_ptr error;
    bool ready = false;
  };
  void work();
  void end();
  void stop(std::unique_lock<std::mutex>& lock);
  Slot& slot(int64_t number) { return slots_[static_cast<size_t>(number) % slots_.size()]; }

  const Fill fill_;
  std::mutex mutex_;
  std::condition_variable room_, filled_;
  std::vector<Slot> slots_;
  // Numbers of batches: the one the consumer has (or `first`, before it has one), the next it takes, the next to fill.
  int64_t held_ = 0, next_take_ = 0, next_fill_ = 0, last_ = 0;
  int64_t filling_ = 0;
  bool ending_ = false;
  std::vector<std::jthread> threads_;  // the last member: joined before the rest goes
};

}  // namespace levin::detail
