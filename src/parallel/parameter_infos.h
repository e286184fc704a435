#pragma once
#include <functional>
#include <vector>

#include "levin/parallel/group_optimizer.h"
#include "levin/parallel/plan.h"
#include "unit_tree.h"

namespace levin::detail {

/// What the layout needs to know of a model's parameters, and the sets of optimizer options that it refers to.
struct ParameterInfos {
  std::vector<ParameterInfo> parameters;
  std::vector<SegmentOptions> options;
};
ParameterInfos parameter_infos(const std::vector<NamedParameter>& parameters, const std::vector<OptimizerSpec>& optimizers,
                               const UnitTree& tree, const std::function<at::ScalarType(const Tensor&)>& dtype_of);

PlanModel plan_model(std::vector<ParameterInfo> parameters, const std::vector<OptimizerSpec>& optimizers, const UnitTree& tree);

}  // namespace levin::detail
