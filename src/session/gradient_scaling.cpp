#include "levin/session/gradient_scaling.h"

#include <algorithm>
#include <cmath>

#include "levin/comm/mpi_runtime.h"
#include "levin/core/error.h"
#include "levin/parallel/strategy.h"
#include "levin/session/state_dict.h"

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
  if (!fp16 || runtime_->size() == 1 || !(weight > 0)) return;  // alone, the strategy has a unit of its own
  weight_unit_ = std::exp2(std::round(std::log2(weight)));
  scale_gradients();
}

void GradientScaling::scale_gradients() {
  if (const double scale = (scaler_ ? scaler_->scale() : 1) / weight_unit_; scale != strategy_->gradient_scale())
    strategy_->scale_gradients(scale);
}

// All ranks find the same: where each has a part of the mean gradient, the norm is of all parts.
void GradientScaling::check_finite(size_t optimizer, int64_t step) {
  nonfinite_[optimizer] = 0;
  const auto policy = scaler_ ? NonfiniteGradients::skip : config_.nonfinite_gradients;
  if (policy == NonfiniteGradients::ignore || std::isfinite(strategy_->grad_norm(optimizer).item<double>())) return;
  if (policy == NonfiniteGradients::error)
    throw Error(ExitCode::internal, "session", fmt::format("the gradient of step {} is not finite", step),
                "look for its origin with --trainer.detect_anomaly true, or lower the learning rate; or set nonfinite_gradients: skip");
  nonfinite_[optimizer] = 1;
}

bool GradientScaling::skips(size_t optimizer) { return std::exchange(nonfinite_[optimizer], 0) != 0; }

void GradientScaling::end_update(bool skipped, int64_t step) {
  if (scaler_) scaler_->update(skipped);
  if (skipped) count_skipped(step);
  scale_gradients();
}

void GradientScaling::count_skipped(int64_t step) {
  skipped_steps_++;
  if (!scaler_) return runtime_->log().info("[session] gradient of step {} is not finite: update skipped", step);
  if (scaler_->scale() < least_scale)
    throw Error(ExitCode::internal, "session",
                fmt::format("gradients are not finite whatever the scale of the loss, which has fallen to {:.3g} in step {}",
                            scaler_->scale(), step),
                "look for their origin with --trainer.detect_anomaly true, or use bf16-mixed");
  runtime_->log().info("[session] gradient of step {} overflowed: update skipped, loss scale now {:g}", step, scaler_->scale());
}

void GradientScaling::save(StateDict& state) const {
  if (scaler_) {
    state.set("loss_scaler.scale", scaler_->state().scale);
    state.set("loss_scaler.good_steps", scaler_->state().good_steps);
  }
  if (weight_unit_ != 1) state.set("weight_unit", weight_unit_);
  if (skipped_steps_ > 0) state.set("skipped_steps", skipped_steps_);
}

void GradientScaling::load(const StateDict& state) {
  if (scaler_ && state.contains("loss_scaler.scale"))
    scaler_->set_state({state.get<double>("loss_scaler.scale"), state.get<int64_t>("loss_scaler.good_steps")});
  if (state.contains("weight_unit")) expect_weight(state.get<double>("weight_unit"));
  if (state.contains("skipped_steps")) skipped_steps_ = state.get<int64_t>("skipped_steps");
  scale_gradients();
}

}  // namespace levin
