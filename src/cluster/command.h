#pragma once
#include <chrono>
#include <stop_token>
#include <string>
#include <vector>

namespace levin::detail {

struct CommandResult {
  /// Exit status of the program; 128 + N where signal N ended it.
  int status = 0;
  bool started = true, in_time = true;
  std::string out = {}, err = {};  ///< at most 4 MiB each

  bool good() const noexcept { return started && in_time && status == 0; }
  /// Why it is not good, in a few words: "not found", "no answer in 10 s", "exit status 1: …" with the first line of err.
  std::string failure() const;
  std::chrono::milliseconds limit{0};
};

/// Runs a program, found in PATH, without a shell and with /dev/null as its input. Returns when it has ended, or has been killed because
/// `limit` is over or `stop` was requested: a scheduler that does not answer delays a job by no more. The program starts with the default
/// actions of all signals, in a process group of itself. Throws nothing.
CommandResult run_command(const std::vector<std::string>& words, std::chrono::milliseconds limit, const std::stop_token& stop = {});

}  // namespace levin::detail
