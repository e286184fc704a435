#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/// The call that a communicator of this rank runs now. One thread writes, any thread reads; writing costs a few relaxed stores. Calls are
/// ranges of that thread for a profiler.
class CallSlot {
 public:
  /// `kind` and `dtype` are string literals, dtype null for a call without data; a long label is cut.
  void begin(const char* kind, uint64_t number, int64_t count, const char* dtype, std::string_view label) noexcept;
  void end() noexcept;
  /// "all_reduce number 7 of 100 Float for unit \"encoder\""; empty between calls.
  std::string describe() const;

  /// Ends the call with its scope.
  class Scope {
   public:
    explicit Scope(CallSlot& slot) noexcept : slot_(slot) {}
    ~Scope() { slot_.end(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    CallSlot& slot_;
  };

 private:
  static constexpr size_t label_words = 9;
  std::atomic<uint32_t> version_{0};  // odd: begin() is writing
  std::atomic<const char*> kind_{nullptr}, dtype_{nullptr};
  std::atomic<uint64_t> number_{0};
  std::atomic<int64_t> count_{0};
  std::array<std::atomic<uint64_t>, label_words> label_{};
};

/// Where this rank stands, for a watchdog on another thread: phase, step, progress, and the collectives under way. All communicators that
/// stem from one Communicator::create_cpu share a record (NodeGroup::flight). The thread that trains writes, with relaxed stores.
class FlightRecord {
 public:
  /// A batch or a save is complete. A rank without progress for long hangs.
  void advance() noexcept { progress_.store(progress_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }
  uint64_t progress() const noexcept { return progress_.load(std::memory_order_relaxed); }
  void set_step(int64_t step) noexcept { step_.store(step, std::memory_order_relaxed); }
  int64_t step() const noexcept { return step_.load(std::memory_order_relaxed); }
  /// A string literal, "training"; "start" before any phase.
  const char* phase() const noexcept { return phase_.load(std::memory_order_relaxed); }
  /// Whether the phase may take any time, as the preparation of data.
  bool unbounded() const noexcept { return unbounded_.load(std::memory_order_relaxed); }

  /// A slot for a communicator's calls; it is listed as long as the communicator keeps it.
  std::shared_ptr<CallSlot> add_communicator();
  /// The calls under way in words, joined by "; "; empty: none.
  std::string calls() const;

  /// A phase of the run, which lasts as long as this; it may contain others. A range of this thread for a profiler. `name` is a string
  /// literal.
  class Phase {
   public:
    Phase(FlightRecord& record, const char* name, bool unbounded = false) noexcept;
    ~Phase();
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    FlightRecord& record_;
    const char* before_;
    bool unbounded_before_;
  };

 private:
  std::atomic<uint64_t> progress_{0};
  std::atomic<int64_t> step_{0};
  std::atomic<const char*> phase_{"start"};
  std::atomic<bool> unbounded_{false};
  mutable std::mutex mutex_;
  mutable std::vector<std::weak_ptr<CallSlot>> slots_;
};

}  // namespace levin
