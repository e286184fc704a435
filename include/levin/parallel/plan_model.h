#pragma once
#include <optional>
#include <vector>

#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/plan.h"

namespace torch::nn {
class Module;
}

namespace levin {

/// What a plan needs to know of a module and its optimizers; of its parameters' tensors the sizes alone are read. `dtype`: what
/// floating-point parameters are going to have. UsageError where of several optimizers not just one trains a parameter. What a custom
/// optimizer remembers is not known, and counts as nothing.
PlanModel describe_model(torch::nn::Module& module, const std::vector<OptimizerSpec>& optimizers, std::optional<c10::ScalarType> dtype,
                         int64_t min_num_params);

}  // namespace levin
