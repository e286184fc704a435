#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/optim/lr_scheduler.h"
#include "levin/optim/optimizer.h"

namespace levin {

/// Options of the parameters whose name matches `pattern` (`*` any text, `?` one character): the first rule that matches counts.
struct ParameterRule {
  std::string pattern;
  std::optional<double> lr = {};
  std::optional<double> weight_decay = {};
};

/// What Module::configure_optimizers returns: an optimizer, its exceptions by parameter name, and its schedule.
struct OptimizerSpec {
  template <class Optimizer>
  requires std::is_constructible_v<OptimizerConfig, Optimizer> OptimizerSpec(Optimizer config)
      : optimizer(std::move(config)) {}  // so that `return {AdamW{.lr = 1e-3}};` is enough

  OptimizerConfig optimizer;
  std::vector<ParameterRule> rules = {};
  std::optional<LrSchedulerConfig> lr_scheduler = {};
};

/// The options of one segment of parameters.
struct SegmentOptions {
  double lr = 0, weight_decay = 0;
  bool operator==(const SegmentOptions&) const = default;
};

/// Whether the whole of `name` fits the pattern of a ParameterRule.
bool matches(const std::string& pattern, const std::string& name);
/// The optimizer's own options, with those of the first rule that matches the name.
SegmentOptions options_for(const OptimizerSpec& spec, const std::string& parameter_name);

}  // namespace levin
