#include "levin/optim/optimizer.h"

#include "levin/core/error.h"

namespace levin {

void SGD::validate() const {
  if (nesterov && (momentum <= 0 || dampening != 0))
    throw ConfigError(fmt::format("nesterov with momentum {} and dampening {}", momentum, dampening),
                      "Nesterov momentum needs momentum above 0 and dampening 0", "optim");
}

double base_lr(const OptimizerConfig& config) {
  return std::visit([](const auto& c) { return c.lr; }, config);
}

double base_weight_decay(const OptimizerConfig& config) {
  return std::visit([](const auto& c) { return c.weight_decay; }, config);
}

std::optional<double> base_momentum(const OptimizerConfig& config) {
  return std::visit(
      [](const auto& c) -> std::optional<double> {
        if constexpr (requires { c.beta1; }) return c.beta1;
        if constexpr (requires { c.momentum; }) return c.momentum;
        return std::nullopt;
      },
      config);
}

std::string optimizer_name(const OptimizerConfig& config) {
  return std::visit([](const auto& c) { return config_type<std::decay_t<decltype(c)>>().name(); }, config);
}

}  // namespace levin
