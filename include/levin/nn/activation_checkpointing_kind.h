#pragma once
#include "levin/core/config.h"

namespace levin {

/// What a unit keeps of its forward for its backward: everything; its inputs alone, from which the forward is computed again (Chen et al.,
/// "Training Deep Nets with Sublinear Memory Cost", 2016); or those in host memory.
enum class ActivationCheckpointing { none, units, offload };
LEVIN_ENUM(ActivationCheckpointing, (none, "none"), (units, "units"), (offload, "offload"))

}  // namespace levin
