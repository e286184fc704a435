#include "levin/metrics/metric.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include "class_samples.h"
#include "levin/core/error.h"

namespace levin {

Tensor MetricState::joined() const {
  if (reduction != StateReduction::concatenate) return value;
  if (parts.empty()) return at::empty({0}, initial.options());
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

MetricState& Metric::add_state(std::string name, StateReduction reduction, Tensor initial) {
  const auto dtype = initial.scalar_type();
  if (reduction == StateReduction::concatenate)
    throw UsageError("metrics", fmt::format("state \"{}\" is made of rows", name), "use add_rows");
  if (dtype != at::kDouble && !(dtype == at::kLong && reduction == StateReduction::sum))
    throw UsageError("metrics", fmt::format("state \"{}\" is {}", name, detail::shape_text(initial)),
                     "states are float64, sums may be int64");
  for (const auto& state : states_)
    if (state.name == name) throw UsageError("metrics", fmt::format("two states are named \"{}\"", name));
  initial = initial.to(device_);
  return states_.emplace_back(MetricState{std::move(name), reduction, initial, initial.clone(), {}});
}

MetricState& Metric::add_rows(std::string name) {
  for (const auto& state : states_)
    if (state.name == name) throw UsageError("metrics", fmt::format("two states are named \"{}\"", name));
  const auto none = at::empty({0}, at::TensorOptions(device_).dtype(at::kDouble));
  return states_.emplace_back(MetricState{std::move(name), StateReduction::concatenate, none, {}, {}});
}

// An evaluation may run in inference mode; a tensor made there could not be updated outside of it.
void Metric::reset() {
  const c10::InferenceMode normal_tensors(/*enabled=*/false);
  for (auto& state : states_) {
    state.parts.clear();
    if (state.value.defined()) state.value = state.initial.clone();
  }
  if (stash_) {
    stash_.reset();
    set_enabled(false);
  }
}

void Metric::to(at::Device device) {
  device_ = device;
  for (auto& state : states_) {
    state.initial = state.initial.to(device);
    if (state.value.defined()) state.value = state.value.to(device);
    for (auto& part : state.parts) part = part.to(device);
  }
}

void Metric::set_enabled(bool enabled) {
  if (enabled == this->enabled()) return;
  if (enabled) {
    set_values(std::move(*stash_));
    stash_.reset();
    return;
  }
  stash_ = values();
  for (auto& state : states_)
    if (state.value.defined()) state.value = state.value.clone();
}

void Metric::load_state(std::string_view name, const Tensor& value) {
  for (auto& state : states_) {
    if (state.name != name) continue;
    if (state.reduction == StateReduction::concatenate) {
      state.parts.clear();
      if (value.numel() > 0) state.parts.push_back(value.to(device_));
      return;
    }
    if (value.sizes() != state.initial.sizes() || value.scalar_type() != state.initial.scalar_type())
      throw DataError(
          fmt::format("metric state \"{}\" was saved as {} and is {}", name, detail::shape_text(value), detail::shape_text(state.initial)),
          "resume with the metric's options of the run that saved it", "metrics");
    state.value = value.to(device_).clone();
    return;
  }
  throw DataError(fmt::format("a metric has no state \"{}\"", name), "resume with the metrics of the run that saved it", "metrics");
}

Metric::Values Metric::values() const {
  Values values;
  for (const auto& state : states_) values.emplace_back(state.value, state.parts);
  return values;
}

void Metric::set_values(Values values) {
  for (size_t i = 0; i < states_.size(); ++i) std::tie(states_[i].value, states_[i].parts) = std::move(values[i]);
}

}  // namespace levin
