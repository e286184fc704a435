#pragma once
#include <sys/types.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

namespace levin::sweep {

/// Starts a program, found in PATH, in a process group of itself, with /dev/null as its input and its output at the end of a file. No
/// signal is blocked, and those of `defaults` have their default actions. IoError if it cannot be started.
pid_t start_process(const std::vector<std::string>& words, const std::filesystem::path& output, const sigset_t& defaults);

}  // namespace levin::sweep
