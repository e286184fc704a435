#include "levin/optim/optimizer.h"

#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "levin/core/error.h"

namespace levin {
namespace {

class FusedSgd : public FlatOptimizer {
 public:
  explicit FusedSgd(SGD config) : config_(config) {}

  std::vector<std::string> state_names() const override {
    return config_.momentum == 0 ? std::vector<std::string>{} : std::vector<std::string>{"momentum_buffer"};
  }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    const bool first = state.step.item<float>() == 0;
    state.step.add_(1);
    at::_fused_sgd_({parameters}, {gradients}, state.tensors, weight_decay, config_.momentum, lr, config_.dampening, config_.nesterov,
                    /*maximize=*/false, first);
  }

 private:
  SGD config_;
};

template <class Config>
class FusedAdam : public FlatOptimizer {
 public:
  explicit FusedAdam(Config config) : config_(config) {}

  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    constexpr auto update = [](auto&&... args) {
      if constexpr (std::is_same_v<Config, AdamW>) {
        at::_fused_adamw_(args...);
      } else {
        at::_fused_adam_(args...);
      }
    };
    state.step.add_(1);
    update(at::TensorList(parameters), at::TensorList(gradients), at::TensorList(state.tensors[0]), at::TensorList(state.tensors[1]),
           at::TensorList(), at::TensorList(state.step), lr, config_.beta1, config_.beta2, weight_decay, config_.eps, /*amsgrad=*/false,
           /*maximize=*/false);
  }

 private:
  Config config_;
};

}  // namespace

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

std::unique_ptr<FlatOptimizer> FlatOptimizer::create(const OptimizerConfig& config) {
  if (const auto* sgd = std::get_if<SGD>(&config)) {
    sgd->validate();
    return std::make_unique<FusedSgd>(*sgd);
  }
  if (const auto* adam = std::get_if<Adam>(&config)) return std::make_unique<FusedAdam<Adam>>(*adam);
  return std::make_unique<FusedAdam<AdamW>>(std::get<AdamW>(config));
}

OptimizerState FlatOptimizer::make_state(const Tensor& parameters) const {
  OptimizerState state;
  for (size_t i = 0; i < state_names().size(); i++) state.tensors.push_back(at::zeros_like(parameters));
  state.step = at::zeros({}, at::kFloat);
  return state;
}

}  // namespace levin
