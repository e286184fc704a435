#pragma once
#include "levin/core/config_macros.h"

namespace levin {

/// Which values of a monitored metric are better.
enum class MonitorMode { min, max };
LEVIN_ENUM(MonitorMode, (min, "min"), (max, "max"))

}  // namespace levin
