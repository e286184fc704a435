#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "levin/core/seconds.h"

namespace levin {

class Communicator;
class Topology;

struct WatchdogOptions {
  std::optional<Seconds> hang_timeout = {};  ///< null or 0: hangs are not looked for, lost processes are
  /// The run directory, which all ranks share: they gather their positions there, and the report becomes hang.txt. Empty: the first rank
  /// that hangs reports for itself alone.
  std::filesystem::path folder = {};
  /// The lines of a stack, each preceded by a newline, from code addresses, innermost first.
  std::function<std::string(std::span<const uintptr_t> addresses)> describe_stack = {};
  /// Ends the job on all ranks with this message, by its first caller; it returns on a rank that is not the first. Called on the
  /// watchdog's thread. MPI calls in it need MPI_THREAD_MULTIPLE.
  std::function<void(const std::string& message)> end_job = {};
};

/// A thread that looks at this rank's flight record, and at the process of the next rank of the host, while it lives.
///
/// A rank hangs when it completes no batch and no save for `hang_timeout`, four times as long before the first; time in prepare_data does
/// not count, nor does time in which the process is stopped. Then every rank that stands still writes its position (phase, step,
/// collectives, hook, stack) into one file, the lowest of them merges the positions into hang.txt, which groups ranks that stand in the
/// same place and names those that did not answer, and calls end_job. It needs no MPI: the threads that train may be stuck in it.
///
/// A rank whose process no longer exists ends the job, too; the message says if it was out of memory and the kernel killed it.
///
/// In either case, and after an abort by another rank, a process that does not end by itself within seconds exits with 69.
class Watchdog {
 public:
  /// On the thread that trains, with a communicator whose cpu() is Communicator::create_cpu's, and that outlives this. Collective.
  Watchdog(WatchdogOptions options, Communicator& communicator, const Topology& topology);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace levin
