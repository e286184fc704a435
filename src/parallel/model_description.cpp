#include "model_description.h"

#include <algorithm>

#include "levin/nn/unit.h"
#include "levin/optim/flat_optimizer.h"

namespace levin::detail {

ModelDescription describe_model(const std::vector<NamedParameter>& parameters, const std::vector<OptimizerSpec>& optimizers,
                                const UnitTree& tree, const std::function<at::ScalarType(const Tensor&)>& dtype_of) {
  std::vector<std::string> names;
  for (const auto& parameter : parameters) names.push_back(parameter.name);
  check_patterns(optimizers, names);
  ModelDescription model;
  auto& options = model.group_options;
  for (const auto& [name, tensor] : parameters) {
    const size_t optimizer = optimizers.size() > 1 && tensor.requires_grad() ? optimizer_of(optimizers, name) : 0;
    const ParameterGroupOptions own = optimizers.empty() ? ParameterGroupOptions{} : options_for(optimizers[optimizer], name);
    auto found = std::find(options.begin(), options.end(), own);
    if (found == options.end()) found = options.insert(options.end(), own);
    model.shape.parameters.push_back({name, tensor.numel(), dtype_of(tensor), tensor.requires_grad(),
                                      tree.unit_of.at(tensor.unsafeGetTensorImpl()), static_cast<int>(found - options.begin()),
                                      static_cast<int>(optimizer), tensor.dim()});
  }
  model.shape.units.clear();
  for (const auto& unit : tree.units)
    model.shape.units.push_back(
        {unit.name, unit.parent, unit.unit && unit.unit->activation_checkpointing() != ActivationCheckpointing::none, unit.becomes});
  model.shape.state_tensors.assign(std::max<size_t>(1, optimizers.size()), 0);
  for (size_t i = 0; i < optimizers.size(); i++)
    if (!optimizers[i].factory)
      model.shape.state_tensors[i] = static_cast<int>(FlatOptimizer::create(optimizers[i].optimizer)->state_names().size());
  return model;
}

}  // namespace levin::detail
