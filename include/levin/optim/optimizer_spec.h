#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/tensor.h"
#include "levin/optim/lr_scheduler.h"
#include "levin/optim/optimizer.h"

namespace torch::optim {
class Optimizer;
}

namespace levin {

/// Options of the parameters whose name matches `pattern` (`*` any text, `?` one character): the first rule that matches counts.
struct ParameterRule {
  std::string pattern;
  std::optional<double> lr = {};
  std::optional<double> weight_decay = {};
};

/// Makes an optimizer of LibTorch's for the parameters that are trained, in the model's order.
using OptimizerFactory = std::function<std::unique_ptr<torch::optim::Optimizer>(std::vector<Tensor> parameters)>;

/// What Module::configure_optimizers returns: an optimizer, the parameters that it trains, its exceptions by parameter name, its schedule.
struct OptimizerSpec {
  template <class Optimizer>
  requires std::is_constructible_v<OptimizerConfig, Optimizer> OptimizerSpec(Optimizer config)
      : optimizer(std::move(config)) {}  // so that `return {AdamW{.lr = 1e-3}};` is enough

  OptimizerConfig optimizer;
  OptimizerFactory factory = {};  ///< in place of `optimizer`; see custom()
  std::vector<ParameterRule> rules = {};
  std::optional<LrSchedulerConfig> lr_scheduler = {};
  std::string name = {};                     ///< of one among several; by default the kind's, "adamw"
  std::vector<std::string> parameters = {};  ///< patterns of the names of what it trains, as in a rule; none: everything
};

/// Any torch::optim::Optimizer: `return {custom([](std::vector<Tensor> p) { return std::make_unique<torch::optim::Adagrad>(p); })};`.
/// It needs whole parameters and gradients on every rank: under ddp each has a private copy. A schedule sets the learning rate of its
/// groups; rules by name do not apply, since the factory makes the groups.
OptimizerSpec custom(OptimizerFactory factory);

/// The options of one segment of parameters.
struct ParameterGroupOptions {
  double lr = 0, weight_decay = 0;
  bool operator==(const ParameterGroupOptions&) const = default;
};

/// Whether the whole of `name` fits the pattern of a ParameterRule.
bool matches(const std::string& pattern, const std::string& name);
/// The optimizers' names: their own, or their kinds'; the second "adamw" is "adamw-1". UsageError for a name that is given twice.
std::vector<std::string> optimizer_names(const std::vector<OptimizerSpec>& specs);
/// Which of the optimizers trains the parameter. UsageError where it is none, or several.
size_t optimizer_of(const std::vector<OptimizerSpec>& specs, const std::string& parameter_name);
/// ConfigError for a pattern, of a rule or of an optimizer's parameters, that matches none of the model's parameter names.
void check_patterns(const std::vector<OptimizerSpec>& specs, const std::vector<std::string>& parameter_names);
/// The optimizer's own options, with those of the first rule that matches the name.
ParameterGroupOptions options_for(const OptimizerSpec& spec, const std::string& parameter_name);

}  // namespace levin
