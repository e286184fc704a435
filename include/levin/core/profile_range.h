#pragma once
#include <cstdint>
#include <string_view>

namespace levin {

/// The part of a program that a range of its time belongs to.
enum class RangeKind : uint8_t { phase, hook, unit, collective, user };

/// A range of time on one thread. The views are valid during RangeObserver::begin alone.
struct RangeName {
  RangeKind kind;
  std::string_view name;
  std::string_view owner = {};  ///< the class of a hook, the label of a collective
};

/// Sees the ranges of the threads that an ObservedThread gives it. Ranges of a thread are nested: an end belongs to the newest begin.
/// Several threads may call at once.
class RangeObserver {
 public:
  virtual ~RangeObserver() = default;
  virtual void begin(const RangeName& range) noexcept = 0;
  virtual void end() noexcept = 0;
};

/// Until its scope ends, an observer sees the ranges of this thread: phases (FlightRecord), hooks and steps (HookScope), units (UnitScope),
/// collectives, also those that a communication thread runs for this one, and ProfileRange. Null: nobody. Without an observer a range
/// costs one comparison.
class ObservedThread {
 public:
  explicit ObservedThread(RangeObserver* observer) noexcept;
  ~ObservedThread();
  ObservedThread(const ObservedThread&) = delete;
  ObservedThread& operator=(const ObservedThread&) = delete;

  /// The observer of the calling thread, or null.
  static RangeObserver* current() noexcept;

 private:
  RangeObserver* before_;
};

namespace detail {
void begin_range(RangeKind kind, std::string_view name, std::string_view owner = {}) noexcept;
void end_range() noexcept;
}  // namespace detail

/// Marks a part of a model's or a callback's code for the profilers of the run:
///
///     const levin::ProfileRange range("tokenize");
class ProfileRange {
 public:
  explicit ProfileRange(std::string_view name) noexcept { detail::begin_range(RangeKind::user, name); }
  ProfileRange(RangeKind kind, std::string_view name, std::string_view owner = {}) noexcept { detail::begin_range(kind, name, owner); }
  ~ProfileRange() { detail::end_range(); }
  ProfileRange(const ProfileRange&) = delete;
  ProfileRange& operator=(const ProfileRange&) = delete;
};

}  // namespace levin
