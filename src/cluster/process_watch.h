#pragma once
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin::detail {

/// A process, which no later one with its number is mistaken for.
struct ProcessIdentity {
  int64_t process = 0;
  uint64_t started = 0;  ///< in clock ticks since the system's start, from /proc
};

/// This process; `started` is 0 where /proc does not show it under its number.
ProcessIdentity this_process();
/// When a process started, in clock ticks since the system's start; null: /proc does not show it.
std::optional<uint64_t> process_start(pid_t process);
/// The state letter of /proc/PID/stat; null: the process no longer exists, or runs where it cannot be seen. A zombie no longer exists.
std::optional<char> process_state(const ProcessIdentity& process);
/// "its process 17 is stopped (SIGSTOP, or a debugger)"; for a report.
std::string describe_process(const ProcessIdentity& process);

/// The kernel's counters of processes that its out-of-memory killer ended: of the cgroups of this process, up to the root, and of the
/// machine.
class OomCounters {
 public:
  /// `root`: for tests, in place of /.
  explicit OomCounters(const std::filesystem::path& root = "/");
  /// What has risen since construction, the narrowest cgroup first: "out of memory: the kernel killed it, or a process beside it
  /// (oom_kill in /sys/fs/cgroup/job/memory.events: 0, now 1)"; empty: no counter.
  std::string risen() const;

 private:
  struct Counter {
    std::filesystem::path file;
    int64_t before;
  };
  std::vector<Counter> counters_;
};

}  // namespace levin::detail
