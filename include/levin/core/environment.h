#pragma once
#include <functional>

namespace levin {

/// Value of an environment variable, or null: std::getenv fits. Functions that read variables of launchers, batch systems and OpenMP take
/// one, so that Levin inside another program reads only what it is given.
using GetVariable = std::function<const char*(const char*)>;

}  // namespace levin
