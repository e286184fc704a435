#pragma once
#include <csignal>
#include <optional>

namespace levin::sweep {

/// Blocks the end of a process and the signals that end a job, so that they can be waited for. Those that whoever started the program
/// ignores (nohup) stay ignored. First of all, before any thread starts.
class Signals {
 public:
  Signals();

  /// The next one.
  int wait() const;
  /// One that has come and ends a job; nothing: none.
  std::optional<int> pending() const;
  /// What the started programs get default actions for.
  const sigset_t& defaults() const noexcept { return defaults_; }

 private:
  sigset_t awaited_, ending_, defaults_;
};

}  // namespace levin::sweep
