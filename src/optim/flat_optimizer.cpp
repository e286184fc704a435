#include "levin/optim/flat_optimizer.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adagrad.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "levin/core/error.h"
#include "levin/optim/clip.h"

namespace levin {
namespace {

// The counter of updates after this one. Written past the dispatcher, whose call costs more than a small update. Fused updates on a device
// read it there.
float count_step(OptimizerState& state) {
  const float steps = ++*state.step.mutable_data_ptr<float>();
  if (state.device_step.defined()) state.device_step.add_(1);
  return steps;
}
const Tensor& step_of(const OptimizerState& state) { return state.device_step.defined() ? state.device_step : state.step; }

// Of an update that `skip` may leave out: the device's counter is exact, the host's counts it.
void count_step_unless(OptimizerState& state, const Tensor& skip) {
  ++*state.step.mutable_data_ptr<float>();
  state.device_step.add_(1).sub_(skip);
}

// Calls update with the learning rate of a slice: a tensor on its device, or a number.
template <class Update>
void with_learning_rate(const SliceUpdate& slice, const Update& update) {
  if (slice.device_lr.defined())
    update(slice.device_lr);
  else
    update(slice.lr);
}

// The update on fp32 copies of a slice in fp16 or bf16, whose squares and quotients would vanish. LibTorch's fused Adam does so by itself;
// on CPUs its fused SGD leaves most of such a slice as it is (2.11), and its fused Adagrad divides zeros by an eps that fp16 cannot hold.
template <class Update>
void in_float32(const Tensor& parameters, const Tensor& gradients, std::vector<Tensor>& states, const Update& update) {
  if (!at::isReducedFloatingType(parameters.scalar_type())) {
    update(parameters, gradients, states);
    return;
  }
  const Tensor wide = parameters.to(at::kFloat);
  std::vector<Tensor> wide_states;
  wide_states.reserve(states.size());
  for (const auto& state : states) wide_states.push_back(state.to(at::kFloat));
  update(wide, gradients.to(at::kFloat), wide_states);
  parameters.copy_(wide);
  for (size_t i = 0; i < states.size(); i++) states[i].copy_(wide_states[i]);
}

class FusedSgd : public FlatOptimizer {
 public:
  explicit FusedSgd(SGD config) : config_(config) {}

  std::vector<std::string> state_names() const override {
    return config_.momentum == 0 ? std::vector<std::string>{} : std::vector<std::string>{"momentum_buffer"};
  }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    update(parameters, gradients, state, lr, weight_decay, count_step(state) == 1);
  }

  void step_all(const std::vector<SliceUpdate>& slices) const override {
    for (const auto& slice : slices)
      with_learning_rate(slice, [&](const auto& lr) {
        update(slice.parameters, slice.gradients, slice.state, lr, slice.weight_decay, count_step(slice.state) == 1);
      });
  }

  // The first gradient becomes the momentum, which with dampening is not the sum of that gradient's part and a momentum of zeros.
  void step_unless(const Tensor& skip, const std::vector<SliceUpdate>& slices) const override {
    if (config_.momentum != 0 && config_.dampening != 0) return FlatOptimizer::step_unless(skip, slices);
    for (const auto& slice : slices) {
      count_step_unless(slice.state, skip);
      with_learning_rate(slice, [&](const auto& lr) {
        update(slice.parameters, slice.gradients, slice.state, lr, slice.weight_decay, /*first=*/false, skip);
      });
    }
  }

 private:
  template <class LearningRate>
  void update(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, const LearningRate& lr, double weight_decay,
              bool first, const std::optional<Tensor>& skip = {}) const {
    in_float32(parameters, gradients, state.tensors, [&](const Tensor& wide_parameters, const Tensor& wide_gradients, auto& states) {
      at::_fused_sgd_({wide_parameters}, {wide_gradients}, states, weight_decay, config_.momentum, lr, config_.dampening, config_.nesterov,
                      /*maximize=*/false, first, /*grad_scale=*/{}, skip);
    });
  }

  SGD config_;
};

template <class Config>
class FusedAdam : public FlatOptimizer {
 public:
  explicit FusedAdam(Config config) : config_(config) {}

  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    count_step(state);
    update(parameters, gradients, state.tensors[0], state.tensors[1], step_of(state), lr, weight_decay);
  }

  void step_all(const std::vector<SliceUpdate>& slices) const override { step_together(slices, std::nullopt); }
  void step_unless(const Tensor& skip, const std::vector<SliceUpdate>& slices) const override { step_together(slices, skip); }

 private:
  void step_together(const std::vector<SliceUpdate>& slices, const std::optional<Tensor>& skip) const {
    struct Lists {
      std::vector<Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;
    };
    std::map<std::tuple<const void*, double, double, at::ScalarType>, std::pair<const SliceUpdate*, Lists>> together;
    for (const auto& slice : slices) {
      auto& state = slice.state;
      if (!state.device_step.defined()) {
        step(slice.parameters, slice.gradients, state, slice.lr, slice.weight_decay);
        continue;
      }
      const void* const device_lr = slice.device_lr.defined() ? slice.device_lr.unsafeGetTensorImpl() : nullptr;
      auto& [first, lists] = together[{device_lr, device_lr ? 0 : slice.lr, slice.weight_decay, slice.parameters.scalar_type()}];
      first = &slice;
      ++*state.step.mutable_data_ptr<float>();
      lists.parameters.push_back(slice.parameters);
      lists.gradients.push_back(slice.gradients);
      lists.exp_avgs.push_back(state.tensors[0]);
      lists.exp_avg_sqs.push_back(state.tensors[1]);
      lists.steps.push_back(state.device_step);
    }
    for (auto& [key, options_and_lists] : together) {
      const SliceUpdate& options = *options_and_lists.first;
      const Lists& lists = options_and_lists.second;
      at::_foreach_add_(lists.steps, 1);
      with_learning_rate(options, [&](const auto& lr) {
        update(lists.parameters, lists.gradients, lists.exp_avgs, lists.exp_avg_sqs, lists.steps, lr, options.weight_decay, skip);
      });
      if (skip)
        for (const auto& steps : lists.steps) steps.sub_(*skip);
    }
  }

  template <class LearningRate>
  void update(at::TensorList parameters, at::TensorList gradients, at::TensorList exp_avgs, at::TensorList exp_avg_sqs,
              at::TensorList steps, const LearningRate& lr, double weight_decay, const std::optional<Tensor>& skip = {}) const {
    constexpr auto fused = [](auto&&... args) {
      if constexpr (std::is_same_v<Config, AdamW>) {
        at::_fused_adamw_(args...);
      } else {
        at::_fused_adam_(args...);
      }
    };
    fused(parameters, gradients, exp_avgs, exp_avg_sqs, at::TensorList(), steps, lr, config_.beta1, config_.beta2, weight_decay,
          config_.eps, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/std::optional<Tensor>(), skip);
  }

  Config config_;
};

class FusedAdagrad : public FlatOptimizer {
 public:
  explicit FusedAdagrad(Adagrad config) : config_(config) {}

  std::vector<std::string> state_names() const override { return {"sum"}; }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    count_step(state);
    update(parameters, gradients, state, step_of(state), lr, weight_decay);
  }

  void step_all(const std::vector<SliceUpdate>& slices) const override {
    for (const auto& slice : slices) {
      count_step(slice.state);
      with_learning_rate(slice, [&](const auto& lr) {
        update(slice.parameters, slice.gradients, slice.state, step_of(slice.state), lr, slice.weight_decay);
      });
    }
  }

  void step_unless(const Tensor& skip, const std::vector<SliceUpdate>& slices) const override {
    for (const auto& slice : slices) {
      const Tensor steps = slice.state.device_step.add(1);
      count_step_unless(slice.state, skip);
      with_learning_rate(
          slice, [&](const auto& lr) { update(slice.parameters, slice.gradients, slice.state, steps, lr, slice.weight_decay, skip); });
    }
  }

 private:
  template <class LearningRate>
  void update(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, const Tensor& steps, const LearningRate& lr,
              double weight_decay, const std::optional<Tensor>& skip = {}) const {
    in_float32(parameters, gradients, state.tensors, [&](const Tensor& wide_parameters, const Tensor& wide_gradients, auto& states) {
      at::_fused_adagrad_({wide_parameters}, {wide_gradients}, {states[0]}, {steps}, lr, config_.lr_decay, weight_decay, config_.eps,
                          /*maximize=*/false, /*grad_scale=*/{}, skip);
    });
  }

  Adagrad config_;
};

class PlainRmsprop : public FlatOptimizer {
 public:
  explicit PlainRmsprop(RMSprop config) : config_(config) {}

  std::vector<std::string> state_names() const override {
    std::vector<std::string> names{"square_avg"};
    if (config_.momentum > 0) names.emplace_back("momentum_buffer");
    if (config_.centered) names.emplace_back("grad_avg");
    return names;
  }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    count_step(state);
    in_float32(parameters, gradients, state.tensors, [&](const Tensor& wide_parameters, const Tensor& wide_gradients, auto& states) {
      update(wide_parameters, wide_gradients, states, lr, weight_decay);
    });
  }

 private:
  void update(const Tensor& parameters, const Tensor& gradients, std::vector<Tensor>& states, double lr, double weight_decay) const {
    const Tensor gradient = weight_decay == 0 ? gradients : gradients.add(parameters, weight_decay);
    Tensor& square_avg = states.front();
    square_avg.mul_(config_.alpha).addcmul_(gradient, gradient, 1 - config_.alpha);
    Tensor root;
    if (config_.centered) {
      Tensor& grad_avg = states.back();
      grad_avg.lerp_(gradient, 1 - config_.alpha);
      root = square_avg.addcmul(grad_avg, grad_avg, -1).sqrt_();
    } else {
      root = square_avg.sqrt();
    }
    root.add_(config_.eps);
    if (config_.momentum > 0)
      parameters.add_(states[1].mul_(config_.momentum).addcdiv_(gradient, root), -lr);
    else
      parameters.addcdiv_(gradient, root, -lr);
  }

  RMSprop config_;
};

class PlainLion : public FlatOptimizer {
 public:
  explicit PlainLion(Lion config) : config_(config) {}

  std::vector<std::string> state_names() const override { return {"exp_avg"}; }

  void step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr, double weight_decay) const override {
    count_step(state);
    in_float32(parameters, gradients, state.tensors, [&](const Tensor& wide_parameters, const Tensor& wide_gradients, auto& states) {
      Tensor& exp_avg = states[0];
      const Tensor direction = exp_avg.lerp(wide_gradients, 1 - config_.beta1).sign_();
      if (weight_decay != 0) wide_parameters.mul_(1 - lr * weight_decay);
      wide_parameters.add_(direction, -lr);
      exp_avg.lerp_(wide_gradients, 1 - config_.beta2);
    });
  }

 private:
  Lion config_;
};

class PlainLamb : public LayerWiseOptimizer {
 public:
  explicit PlainLamb(LAMB config) : config_(config) {}

  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

  Tensor direction(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double weight_decay) const override {
    const double steps = count_step(state);
    Tensor direction;
    in_float32(parameters, gradients, state.tensors, [&](const Tensor& wide_parameters, const Tensor& wide_gradients, auto& states) {
      Tensor &exp_avg = states[0], &exp_avg_sq = states[1];
      exp_avg.lerp_(wide_gradients, 1 - config_.beta1);
      exp_avg_sq.mul_(config_.beta2).addcmul_(wide_gradients, wide_gradients, 1 - config_.beta2);
      Tensor root = exp_avg_sq.sqrt().mul_(1 / std::sqrt(1 - std::pow(config_.beta2, steps))).add_(config_.eps);
      direction = exp_avg.div(root).mul_(1 / (1 - std::pow(config_.beta1, steps)));
      if (weight_decay != 0) direction.add_(wide_parameters, weight_decay);
    });
    return direction;
  }
  Tensor factors(const Tensor& parameter_norms, const Tensor& direction_norms) const override {
    const Tensor defined = parameter_norms.gt(0).logical_and_(direction_norms.gt(0));
    return at::where(defined, parameter_norms.div(direction_norms), 1.0);
  }

 private:
  LAMB config_;
};

std::unique_ptr<FlatOptimizer> make(const SGD& config) {
  config.validate();
  return std::make_unique<FusedSgd>(config);
}
std::unique_ptr<FlatOptimizer> make(const Adam& config) { return std::make_unique<FusedAdam<Adam>>(config); }
std::unique_ptr<FlatOptimizer> make(const AdamW& config) { return std::make_unique<FusedAdam<AdamW>>(config); }
std::unique_ptr<FlatOptimizer> make(const Adagrad& config) { return std::make_unique<FusedAdagrad>(config); }
std::unique_ptr<FlatOptimizer> make(const RMSprop& config) { return std::make_unique<PlainRmsprop>(config); }
std::unique_ptr<FlatOptimizer> make(const Lion& config) { return std::make_unique<PlainLion>(config); }
std::unique_ptr<FlatOptimizer> make(const LAMB& config) { return std::make_unique<PlainLamb>(config); }

}  // namespace

std::unique_ptr<FlatOptimizer> FlatOptimizer::create(const OptimizerConfig& config) {
  return std::visit([](const auto& options) { return make(options); }, config);
}

OptimizerState FlatOptimizer::make_state(const Tensor& parameters) const {
  OptimizerState state;
  for (size_t i = 0; i < state_names().size(); i++) state.tensors.push_back(at::zeros_like(parameters));
  state.step = at::zeros({}, at::kFloat);
  if (!parameters.is_cpu()) state.device_step = at::zeros({}, parameters.options().dtype(at::kFloat));
  return state;
}

void FlatOptimizer::step_all(const std::vector<SliceUpdate>& slices) const {
  for (const auto& slice : slices) step(slice.parameters, slice.gradients, slice.state, slice.lr, slice.weight_decay);
}

void LayerWiseOptimizer::step(const Tensor& parameters, const Tensor& gradients, OptimizerState& state, double lr,
                              double weight_decay) const {
  const Tensor towards = direction(parameters, gradients, state, weight_decay);
  const auto norm = [](const Tensor& slice) { return squared_norm(std::vector<Tensor>{slice}).sqrt(); };
  step_along(towards, parameters, lr, factors(norm(parameters), norm(towards)));
}

void LayerWiseOptimizer::step_along(const Tensor& direction, const Tensor& parameters, double lr, const Tensor& factor) {
  if (factor.is_cpu())
    parameters.add_(direction, -lr * factor.item<double>());
  else
    parameters.addcmul_(direction, factor, -lr);
}

}  // namespace levin
