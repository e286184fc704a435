#pragma once
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "collective.h"

namespace levin {
class Communicator;
}

namespace levin::detail {

/// The collectives that a rank has called on a communicator: a running hash of all, and the last ones in words. Thread-safe.
class CallLog {
 public:
  static constexpr size_t calls_kept = 64;
  /// `call` has its sequence number.
  void add(const Call& call);
  uint64_t hash() const;
  /// Communicator::last_calls.
  std::string last_calls() const;
  /// The call with this sequence number, where it is among the last ones.
  std::optional<Call> find(uint64_t sequence) const;

 private:
  mutable std::mutex mutex_;
  uint64_t hash_ = 0;
  std::deque<Call> calls_;
};

/// The first call that two ranks' last_calls show differently, as the two sides' words; a side without such a call is "no call".
struct CallDifference {
  std::string first, other;
};
CallDifference first_difference(const std::string& first, const std::string& other);

/// The communicators' call_hash combined, exact in a double; null ones and repeated ones count once.
double combined_call_hash(const std::vector<const Communicator*>& communicators);
/// Throws the CommunicatorError of ranks whose calls differ, on all ranks of `ranks`: it names the lowest rank that differs from rank 0,
/// and the first different call of the two that is still known. `hash` is this rank's combined_call_hash. Collective.
[[noreturn]] void throw_call_disagreement(Communicator& ranks, const std::vector<const Communicator*>& communicators, double hash);

}  // namespace levin::detail
