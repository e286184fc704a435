#include "levin/plan/plan_model.h"

#include "../parallel/model_checks.h"
#include "../parallel/model_description.h"

namespace levin {

int64_t PlanModel::numel() const {
  int64_t sum = 0;
  for (const auto& parameter : parameters) sum += parameter.numel;
  return sum;
}

PlanModel describe_model(torch::nn::Module& module, const std::vector<OptimizerSpec>& optimizers, std::optional<c10::ScalarType> dtype,
                         int64_t min_num_params) {
  const detail::UnitTree tree(module, min_num_params);
  auto model = detail::describe_model(detail::parameters_of(module), optimizers, tree, [&](const Tensor& tensor) {
    return dtype && tensor.is_floating_point() ? *dtype : tensor.scalar_type();
  });
  return PlanModel(std::move(model.shape));
}

}  // namespace levin
