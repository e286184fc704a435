#pragma once
#include "levin/core/config.h"
#include "levin/optim/optimizer_spec.h"

namespace levin {

LEVIN_CONFIG(ParameterRule, (pattern, "names of parameters: * is any text, ? one character"), (lr, "learning rate", at_least(0)),
             (weight_decay, "weight decay", at_least(0)))

}  // namespace levin
