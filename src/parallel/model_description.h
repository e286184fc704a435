#pragma once
#include <functional>
#include <vector>

#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/model_shape.h"
#include "levin/parallel/named_parameter.h"
#include "unit_tree.h"

namespace levin::detail {

/// A model's shape, and the options of its parameter groups by group_id.
struct ModelDescription {
  ModelShape shape;
  std::vector<ParameterGroupOptions> group_options;
};
/// `dtype_of`: the dtype that a parameter has in a flat group. UsageError where not exactly one of several optimizers trains a
/// parameter, ConfigError for a pattern that matches no parameter.
ModelDescription describe_model(const std::vector<NamedParameter>& parameters, const std::vector<OptimizerSpec>& optimizers,
                                const UnitTree& tree, const std::function<at::ScalarType(const Tensor&)>& dtype_of);

}  // namespace levin::detail
