#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "levin/optim/optimizer_spec.h"
#include "levin/parallel/model_shape.h"

namespace torch::nn {
class Module;
}

namespace levin {

/// A model to plan for: its shape, and how a forward uses it.
struct PlanModel : ModelShape {
  PlanModel() = default;
  explicit PlanModel(ModelShape shape) : ModelShape(std::move(shape)) {}

  std::vector<int> calls;   ///< the root's units in the order of their forwards; empty: in the order of their first parameters
  std::vector<int> absent;  ///< indices of parameters that no forward uses

  int64_t numel() const;
};

/// Reads sizes only, so the tensors may have no memory. `dtype`: of floating-point parameters in training; null: their own. Custom
/// optimizers count as stateless. UsageError where not exactly one of several optimizers trains a parameter, ConfigError for a pattern that
/// matches no parameter.
PlanModel describe_model(torch::nn::Module& module, const std::vector<OptimizerSpec>& optimizers, std::optional<c10::ScalarType> dtype,
                         int64_t min_num_params);

}  // namespace levin
