#pragma once
#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace levin::sweep {

/// Starts a program, found in PATH, in a process group of itself, with /dev/null as its input and its output at the end of a file. It has
/// the default actions of all signals. IoError if it cannot be started.
pid_t start_process(const std::vector<std::string>& words, const std::filesystem::path& output);

/// Exit status of a process that has ended, as waitpid gives it; 128 + N where signal N ended it.
int exit_status(int status);

/// Blocks the signals that the sweep waits for: the end of a process, and those that end a job. First of all, before any thread starts.
void block_signals();
/// Waits for the next of them.
int next_signal();

}  // namespace levin::sweep
