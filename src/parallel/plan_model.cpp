#include "levin/parallel/plan_model.h"

#include <algorithm>

#include "levin/nn/unit.h"
#include "levin/optim/flat_optimizer.h"
#include "model_checks.h"
#include "parameter_infos.h"

namespace levin {
namespace detail {

ParameterInfos parameter_infos(const std::vector<NamedParameter>& parameters, const std::vector<OptimizerSpec>& optimizers,
                               const UnitTree& tree, const std::function<at::ScalarType(const Tensor&)>& dtype_of) {
  ParameterInfos infos;
  for (const auto& [name, tensor] : parameters) {
    const size_t optimizer = optimizers.size() > 1 && tensor.requires_grad() ? optimizer_of(optimizers, name) : 0;
    const SegmentOptions mine = optimizers.empty() ? SegmentOptions{} : options_for(optimizers[optimizer], name);
    auto found = std::find(infos.options.begin(), infos.options.end(), mine);
    if (found == infos.options.end()) found = infos.options.insert(infos.options.end(), mine);
    infos.parameters.push_back({name, tensor.numel(), dtype_of(tensor), tensor.requires_grad(),
                                tree.unit_of.at(tensor.unsafeGetTensorImpl()), static_cast<int>(found - infos.options.begin()),
                                static_cast<int>(optimizer)});
  }
  return infos;
}

PlanModel plan_model(std::vector<ParameterInfo> parameters, const std::vector<OptimizerSpec>& optimizers, const UnitTree& tree) {
  PlanModel model{.parameters = std::move(parameters), .units = {}};
  for (const auto& unit : tree.units)
    model.units.push_back({unit.name, unit.parent, unit.unit && unit.unit->activation_checkpointing() != ActivationCheckpointing::none});
  model.state_tensors.assign(std::max<size_t>(1, optimizers.size()), 0);
  for (size_t i = 0; i < optimizers.size(); i++)
    if (!optimizers[i].factory)
      model.state_tensors[i] = static_cast<int>(FlatOptimizer::create(optimizers[i].optimizer)->state_names().size());
  return model;
}

}  // namespace detail

PlanModel describe_model(torch::nn::Module& module, const std::vector<OptimizerSpec>& optimizers, std::optional<c10::ScalarType> dtype,
                         int64_t min_num_params) {
  const detail::UnitTree tree(module, min_num_params);
  const auto parameters = detail::parameters_of(module);
  std::vector<std::string> names;
  for (const auto& parameter : parameters) names.push_back(parameter.name);
  check_patterns(optimizers, names);
  auto infos = detail::parameter_infos(parameters, optimizers, tree, [&](const Tensor& tensor) {
    return dtype && tensor.is_floating_point() ? *dtype : tensor.scalar_type();
  });
  return detail::plan_model(std::move(infos.parameters), optimizers, tree);
}

}  // namespace levin
