// The states of LibTorch's optimizers. They have no common interface, so each class is handled separately.
#include <ATen/ops/zeros_like.h>
#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/lbfgs.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include "levin/optim/optimizer_memory.h"
#include "levin/optim/torch_optimizer.h"

namespace levin {
namespace {

namespace optim = torch::optim;
using Named = std::vector<std::pair<std::string, Tensor>>;

// The state of a parameter; before its first step zeros, as that step would create it.
template <class State>
State& state_at(optim::Optimizer& optimizer, const Tensor& parameter) {
  auto& slot = optimizer.state()[parameter.unsafeGetTensorImpl()];
  if (!slot) slot = std::make_unique<State>();
  return static_cast<State&>(*slot);
}

const Tensor& defined_as(Tensor& tensor, const Tensor& parameter) {
  if (!tensor.defined()) tensor = at::zeros_like(parameter, at::MemoryFormat::Contiguous);
  return tensor;
}

template <class State, class Options>
Named of_adam(State& state, const Options& options, const Tensor& parameter) {
  Named named{{"exp_avg", defined_as(state.exp_avg(), parameter)}, {"exp_avg_sq", defined_as(state.exp_avg_sq(), parameter)}};
  if (options.amsgrad()) named.emplace_back("max_exp_avg_sq", defined_as(state.max_exp_avg_sq(), parameter));
  return named;
}

// The state of one parameter; set_steps where its steps are counted.
struct Remembered {
  Named tensors;
  std::function<void(int64_t)> set_steps = {};
};

template <class State>
Remembered counted(State& state, Named tensors) {
  return {std::move(tensors), [&state](int64_t steps) { state.step(steps); }};
}

Remembered remembered(optim::Optimizer& optimizer, optim::OptimizerOptions& options, const Tensor& parameter) {
  if (dynamic_cast<optim::AdamW*>(&optimizer)) {
    auto& state = state_at<optim::AdamWParamState>(optimizer, parameter);
    return counted(state, of_adam(state, static_cast<optim::AdamWOptions&>(options), parameter));
  }
  if (dynamic_cast<optim::Adam*>(&optimizer)) {
    auto& state = state_at<optim::AdamParamState>(optimizer, parameter);
    return counted(state, of_adam(state, static_cast<optim::AdamOptions&>(options), parameter));
  }
  if (dynamic_cast<optim::Adagrad*>(&optimizer)) {
    auto& state = state_at<optim::AdagradParamState>(optimizer, parameter);
    return counted(state, {{"sum", defined_as(state.sum(), parameter)}});
  }
  if (dynamic_cast<optim::RMSprop*>(&optimizer)) {
    const auto& rmsprop = static_cast<optim::RMSpropOptions&>(options);
    auto& state = state_at<optim::RMSpropParamState>(optimizer, parameter);
    Named tensors{{"square_avg", defined_as(state.square_avg(), parameter)}};
    if (rmsprop.momentum() > 0) tensors.emplace_back("momentum_buffer", defined_as(state.momentum_buffer(), parameter));
    if (rmsprop.centered()) tensors.emplace_back("grad_avg", defined_as(state.grad_avg(), parameter));
    return counted(state, std::move(tensors));
  }
  if (dynamic_cast<optim::SGD*>(&optimizer)) {
    if (static_cast<optim::SGDOptions&>(options).momentum() == 0) return {};
    return {{{"momentum_buffer", defined_as(state_at<optim::SGDParamState>(optimizer, parameter).momentum_buffer(), parameter)}}};
  }
  return {};
}

}  // namespace

bool TorchOptimizer::is_known() const {
  const auto& type = typeid(*optimizer_);
  return type == typeid(optim::AdamW) || type == typeid(optim::Adam) || type == typeid(optim::Adagrad) || type == typeid(optim::RMSprop) ||
         type == typeid(optim::SGD);
}

bool TorchOptimizer::needs_closure() const { return dynamic_cast<const optim::LBFGS*>(optimizer_.get()) != nullptr; }

OptimizerMemory* TorchOptimizer::memory() const { return dynamic_cast<OptimizerMemory*>(optimizer_.get()); }

bool TorchOptimizer::keeps_state() const { return memory() || is_known(); }

std::vector<std::pair<std::string, Tensor>> TorchOptimizer::state_of(const Tensor& parameter) const {
  if (auto* state = memory()) return state->state_of(parameter);
  if (is_known())
    for (auto& group : optimizer_->param_groups())
      for (const auto& member : group.params())
        if (member.is_same(parameter)) return remembered(*optimizer_, group.options(), member).tensors;
  return {};
}

std::optional<int64_t> TorchOptimizer::own_steps() const {
  if (const auto* state = memory()) return state->steps();
  return std::nullopt;
}

void TorchOptimizer::set_own_steps(int64_t steps) {
  if (auto* state = memory()) state->set_steps(steps);
}

void TorchOptimizer::set_steps(const Tensor& parameter, int64_t steps) {
  if (memory() || !is_known()) return;
  for (auto& group : optimizer_->param_groups())
    for (const auto& member : group.params())
      if (member.is_same(parameter))
        if (const auto state = remembered(*optimizer_, group.options(), member); state.set_steps) state.set_steps(steps);
}

void TorchOptimizer::forget_zeros(const Tensor& parameter) {
  if (const auto& optimizer = *optimizer_; memory() || typeid(optimizer) != typeid(optim::SGD)) return;
  auto& states = optimizer_->state();
  const auto found = states.find(parameter.unsafeGetTensorImpl());
  if (found == states.end()) return;
  const Tensor& momentum = static_cast<optim::SGDParamState&>(*found->second).momentum_buffer();
  if (!momentum.defined() || !momentum.any().item<bool>()) states.erase(found);
}

}  // namespace levin
