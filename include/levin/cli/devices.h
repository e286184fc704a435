#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "levin/core/error.h"

namespace levin {

/// The error of a program started with more or fewer ranks than configured; its remedy is the right launch command. `command` is argv.
ConfigError explain_devices(int64_t ranks_wanted, int ranks_running, const std::vector<std::string>& command);

/// A word as a shell must be given it.
std::string shell_quoted(const std::string& word);

}  // namespace levin
