#pragma once
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "levin/core/trace_context.h"
#include "levin/nn/activation_checkpointing.h"
#include "levin/nn/build_context.h"
#include "levin/nn/module_buffers.h"
#include "levin/nn/tensors_of.h"
#include "levin/nn/unit_engine.h"

namespace levin {

/// A part of a model that is sharded, recomputed and profiled as one; made by deriving from Unit.
class UnitBase : public torch::nn::Module {
 public:
  using torch::nn::Module::Module;
  /// The engine is not owned and must outlive the unit's last forward; null: nothing is done around compute.
  void attach(UnitEngine* engine) noexcept { engine_ = engine; }
  /// From the next forward on.
  void checkpoint_activations(ActivationCheckpointing kind) noexcept { checkpointing_ = kind; }
  ActivationCheckpointing activation_checkpointing() const noexcept { return checkpointing_; }

 protected:
  UnitEngine* engine_ = nullptr;
  ActivationCheckpointing checkpointing_ = ActivationCheckpointing::none;
};

/// struct BlockImpl : levin::Unit<Tensor(Tensor)> { Tensor compute(Tensor x) override; };  LEVIN_UNIT(Block);
/// forward is not virtual: the holder, Sequential and ModuleList all come through it, so the engine cannot be bypassed.
template <class Signature>
class Unit;

template <class Result, class... Args>
class Unit<Result(Args...)> : public UnitBase {
 public:
  using UnitBase::UnitBase;

  Result forward(Args... args) {
    UnitScope scope(static_cast<const torch::nn::Module*>(this), typeid(*this));
    (for_each_tensor(args, [&](const Tensor& input) { scope.inputs().add(input); }), ...);
    if (checkpointing_ != ActivationCheckpointing::none && at::GradMode::is_enabled()) return compute_twice(args...);
    if (!engine_) return compute(std::forward<Args>(args)...);
    engine_->enter([&](const auto& fn) { (for_each_tensor(args, fn), ...); });
    Result result = compute(std::forward<Args>(args)...);
    engine_->leave([&](const auto& fn) { for_each_tensor(result, fn); });
    return result;
  }

 protected:
  virtual Result compute(Args... args) = 0;

 private:
  // Keeps the inputs; see activation_checkpointing.h. Other arguments than tensors are copied.
  Result compute_twice(Args&... args) {
    using Kept = std::tuple<std::decay_t<Args>...>;
    std::vector<Tensor> inputs;
    (for_each_tensor(args, [&](const Tensor& input) { inputs.push_back(input); }), ...);
    const auto kept = std::make_shared<Kept>(args...);
    const auto set_inputs = [kept](const std::vector<Tensor>& tensors) {
      size_t next = 0;
      std::apply([&](auto&... arg) { (for_each_tensor(arg, [&](Tensor& tensor) { tensor = tensors[next++]; }), ...); }, *kept);
    };
    const auto result = std::make_shared<std::optional<Result>>();
    const auto run = [this, kept, set_inputs, result](const std::vector<Tensor>& tensors) {
      const bool again = at::GradMode::is_enabled();
      set_inputs(tensors);
      std::optional<BufferGuard> once;  // the first computation has written its buffers
      if (again) once.emplace(*this);
      if (engine_) engine_->enter([](const auto&) {});
      result->emplace(std::apply([&](auto&... arg) { return compute(arg...); }, *kept));
      if (engine_ && !again) engine_->leave([](const auto&) {}), engine_->will_repeat();
      set_inputs(std::vector<Tensor>(tensors.size(), at::empty({0})));  // the graph keeps them
      std::vector<Tensor> outputs;
      for_each_tensor(**result, [&](const Tensor& output) { outputs.push_back(output); });
      if (again) result->reset();
      return outputs;
    };
    const auto repeated = [this] {
      if (engine_) engine_->repeated();
    };
    const auto outputs = detail::compute_twice(inputs, {run, repeated}, checkpointing_);
    Result given = std::move(**result);
    result->reset();
    size_t next = 0;
    for_each_tensor(given, [&](Tensor& output) { output = outputs[next++]; });
    return given;
  }
};

/// The holder that LEVIN_UNIT makes: hands a finished unit to the open build context, whatever container keeps it.
template <class Impl>
class UnitHolder : public torch::nn::ModuleHolder<Impl> {
 public:
  template <class... Args>
  requires std::is_constructible_v<Impl, Args...>
  explicit UnitHolder(Args&&... args) : torch::nn::ModuleHolder<Impl>(std::make_shared<Impl>(std::forward<Args>(args)...)) {
    if (auto* context = BuildContext::current()) context->adopt(this->impl_);
  }
  UnitHolder(std::nullptr_t) : torch::nn::ModuleHolder<Impl>(nullptr) {}
  UnitHolder(std::shared_ptr<Impl> impl) : torch::nn::ModuleHolder<Impl>(std::move(impl)) {}
};

}  // namespace levin

// NOLINTBEGIN(bugprone-macro-parentheses)
/// Declares the holder Name of the unit NameImpl, in place of TORCH_MODULE(Name).
#define LEVIN_UNIT(Name)                                \
  class Name : public ::levin::UnitHolder<Name##Impl> { \
   public:                                              \
    using ::levin::UnitHolder<Name##Impl>::UnitHolder;  \
    using Impl = Name##Impl;                            \
  }
// NOLINTEND(bugprone-macro-parentheses)
