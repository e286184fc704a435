#pragma once
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace levin {
class Communicator;
}

namespace levin::detail {

// What ranks tell each other of a checkpoint. All are collective; a null communicator is a rank alone. CommunicatorAborted passes through.

/// Do all ranks come here without a failure? If not, all throw what the first bad rank brings, which is named.
void settle(Communicator* communicator, const std::exception_ptr& failure);

/// Runs `part` on this rank, and goes on only when it went well on all.
template <class Part>
void together(Communicator* communicator, const Part& part) {
  std::exception_ptr failure;
  try {
    part();
  } catch (...) {
    failure = std::current_exception();
  }
  settle(communicator, failure);
}

/// Rank 0's text, or numbers; or those of another rank.
std::string from_first(Communicator* communicator, std::string text);
std::vector<int64_t> from_first(Communicator* communicator, std::vector<int64_t> numbers);
std::vector<int64_t> from_rank(Communicator* communicator, std::vector<int64_t> numbers, int rank);
/// All ranks' numbers, in rank order; ranks may have different numbers of them.
std::vector<int64_t> from_all(Communicator* communicator, const std::vector<int64_t>& numbers);
/// The sums over all ranks.
std::vector<double> sum_of_all(Communicator* communicator, std::vector<double> numbers);

}  // namespace levin::detail
