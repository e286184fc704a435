#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "levin/core/error.h"

namespace levin {

/// For a program that is asked for more (or fewer) ranks than it was started with: an error that says how to start it. `command` is argv.
ConfigError explain_devices(int64_t ranks_wanted, int ranks_running, const std::vector<std::string>& command);

/// A word as a shell must be given it.
std::string shell_quoted(const std::string& word);

}  // namespace levin
