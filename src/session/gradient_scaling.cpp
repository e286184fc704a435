#include "levin/session/gradient_scaling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "levin/comm/mpi_runtime.h"
#include "levin/core/error.h"
#include "levin/parallel/strategy.h"
#include "levin/session/state_dict.h"
#include "nonfinite_gradient.h"

namespace levin {
namespace {

// Under it no gradient overflows for its scale.
constexpr double least_scale = 0x1p-24;

// The smallest number of fp16.
constexpr double least_square = 0x1p-24;

std::optional<double> eps_of(const OptimizerSpec& spec) {
  if (spec.factory) return std::nullopt;
  return std::visit(
      [](const auto& config) -> std::optional<double> {
        if constexpr (requires { config.eps; })
          return config.eps;
        else
          return std::nullopt;
      },
      spec.optimizer);
}

}  // namespace

GradientScaling::GradientScaling(const SessionConfig& config, Strategy& strategy, const MpiRuntime& runtime)
    : config_(config), strategy_(&strategy), runtime_(&runtime) {}

void GradientScaling::begin(const std::vector<OptimizerSpec>& specs) {
  scaler_.reset();
  if (config_.precision == Precision::float16_mixed) scaler_.emplace(config_.loss_scaling);
  weight_unit_ = 1;
  skipped_steps_ = 0;
  nonfinite_.assign(std::max<size_t>(1, specs.size()), 0);
  on_device_ = policy() != NonfiniteGradients::ignore && strategy_->skips_on_device();
  skip_.assign(nonfinite_.size(), Tensor());
  updates_.clear();
  set_device_scale();
  scale_gradients();
  if (config_.precision != Precision::float16 || runtime_->rank() != 0) return;
  for (const auto& spec : specs)
    if (const auto eps = eps_of(spec); eps && *eps < std::sqrt(least_square))
      runtime_->log().warning(
          "[session] in 16-true {} keeps squares of gradients in fp16, where those of gradients under {:.1e} are 0, and divides by eps, "
          "which "
          "is {:.1e}: set eps to {:.0e} or more, or use bf16-true or 16-mixed",
          optimizer_name(spec.optimizer), std::sqrt(least_square), *eps, std::sqrt(least_square));
}

void GradientScaling::expect_weight(double weight) {
  const bool fp16 = config_.precision == Precision::float16 || config_.precision == Precision::float16_mixed;
  if (!fp16 || runtime_->size() == 1 || !(weight > 0)) return;  // on one rank the strategy has its own weight unit
  weight_unit_ = std::exp2(std::round(std::log2(weight)));
  scale_gradients();
}

void GradientScaling::scale_gradients() {
  const double scale = (scaler_ && !on_device_ ? scaler_->scale() : 1) / weight_unit_;
  if (scale == strategy_->gradient_scale() && device_scale_.is_same(used_scale_)) return;
  strategy_->scale_gradients(scale, device_scale_);
  used_scale_ = device_scale_;
}

void GradientScaling::set_device_scale() {
  device_scale_ = device_good_steps_ = Tensor();
  if (!scaler_ || !on_device_) return;
  const auto options = at::TensorOptions(at::kDouble).device(strategy_->device());
  device_scale_ = at::full({}, scaler_->scale(), options);
  device_good_steps_ = at::full({}, static_cast<double>(scaler_->state().good_steps), options);
}

// LossScaler::update on the device. Its tensors are new ones: the strategy still divides by the old scale.
void GradientScaling::update_device_scale(const Tensor& skip) {
  const auto& config = config_.loss_scaling;
  const Tensor overflow = skip.gt(0), good_steps = device_good_steps_.add(1), grows = good_steps.eq(config.growth_interval);
  const Tensor grown = device_scale_.mul(config.growth_factor), can_grow = grows.logical_and(grown.to(at::kFloat).isfinite());
  device_scale_ = at::where(overflow, device_scale_.mul(config.backoff_factor), at::where(can_grow, grown, device_scale_));
  device_good_steps_ = good_steps.masked_fill(overflow.logical_or(grows), 0);
}

// All ranks find the same: where each has a part of the mean gradient, the norm is of all parts.
void GradientScaling::check_finite(size_t optimizer, int64_t step) {
  nonfinite_[optimizer] = 0;
  if (policy() == NonfiniteGradients::ignore) return;
  const Tensor norm = strategy_->grad_norm(optimizer);
  if (on_device_) {
    skip_[optimizer] = norm.isfinite().logical_not().to(at::kFloat);
    return settle(step);
  }
  if (std::isfinite(norm.item<double>())) return;
  if (policy() == NonfiniteGradients::error) throw_nonfinite(step);
  nonfinite_[optimizer] = 1;
}

void GradientScaling::throw_nonfinite(int64_t step) {
  throw detail::NonfiniteGradient(
      ExitCode::internal, "session", fmt::format("the gradient of step {} is not finite", step),
      "look for its origin with --trainer.detect_anomaly true, or lower the learning rate; or set nonfinite_gradients: skip");
}

bool GradientScaling::skips(size_t optimizer) { return std::exchange(nonfinite_[optimizer], 0) != 0; }

void GradientScaling::settle(int64_t step) {
  while (!updates_.empty() && updates_.front().step < step) {
    const Update update = std::move(updates_.front());
    updates_.pop_front();
    handle(update);
  }
}

void GradientScaling::handle(const Update& update) {
  const double* result = update.result.get().const_data_ptr<double>();
  if (scaler_) scaler_->set_state({.scale = result[1], .good_steps = static_cast<int64_t>(result[2])});
  if (result[0] == 0) return;
  strategy_->uncount_update(update.optimizer);
  if (policy() == NonfiniteGradients::error) throw_nonfinite(update.step);
  count_skipped(update.step);
}

const LossScaler* GradientScaling::loss_scaler() {
  settle();
  return scaler_ ? &*scaler_ : nullptr;
}

int64_t GradientScaling::skipped_steps() {
  settle();
  return skipped_steps_;
}

void GradientScaling::end_update(size_t optimizer, bool skipped, int64_t step) {
  if (const Tensor skip = std::exchange(skip_[optimizer], Tensor()); skip.defined()) {
    if (scaler_) update_device_scale(skip);
    const Tensor flag = skip.to(at::kDouble);
    updates_.push_back({optimizer, step, HostCopy(scaler_ ? at::stack({flag, device_scale_, device_good_steps_}) : flag)});
    return scale_gradients();
  }
  if (scaler_) scaler_->update(skipped);
  if (skipped) count_skipped(step);
  scale_gradients();
}

void GradientScaling::count_skipped(int64_t step) {
  skipped_steps_++;
  if (!scaler_) return runtime_->log().info("[session] gradient of step {} is not finite: update skipped", step);
  if (scaler_->scale() < least_scale)
    throw detail::NonfiniteGradient(
        ExitCode::internal, "session",
        fmt::format("gradients are not finite whatever the scale of the loss, which has fallen to {:.3g} in step {}", scaler_->scale(),
                    step),
        "look for their origin with --trainer.detect_anomaly true, or use bf16-mixed");
  runtime_->log().info("[session] gradient of step {} overflowed: update skipped, loss scale now {:g}", step, scaler_->scale());
}

void GradientScaling::save(StateDict& state) {
  settle();
  if (scaler_) {
    state.set("loss_scaler.scale", scaler_->state().scale);
    state.set("loss_scaler.good_steps", scaler_->state().good_steps);
  }
  if (weight_unit_ != 1) state.set("weight_unit", weight_unit_);
  if (skipped_steps_ > 0) state.set("skipped_steps", skipped_steps_);
}

void GradientScaling::load(const StateDict& state) {
  updates_.clear();
  if (scaler_ && state.contains("loss_scaler.scale"))
    scaler_->set_state({state.get<double>("loss_scaler.scale"), state.get<int64_t>("loss_scaler.good_steps")});
  set_device_scale();
  if (state.contains("weight_unit")) expect_weight(state.get<double>("weight_unit"));
  skipped_steps_ = state.contains("skipped_steps") ? state.get<int64_t>("skipped_steps") : 0;
  scale_gradients();
}

}  // namespace levin
