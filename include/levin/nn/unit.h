#pragma once
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <functional>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "levin/core/whereabouts.h"
#include "levin/nn/build_context.h"
#include "levin/nn/tensors_of.h"

namespace levin {

/// What the parallel engine does around a unit's compute.
class UnitEngine {
 public:
  virtual ~UnitEngine() = default;
  /// Before compute: the unit's parameters must be there afterwards.
  virtual void enter() = 0;
  /// After compute; `for_each_output` visits the tensors of what compute returned, so that hooks can be put on them.
  virtual void leave(const std::function<void(const std::function<void(Tensor&)>&)>& for_each_output) = 0;
};

/// A part of a model that is sharded, recomputed and profiled as one; made by deriving from Unit. Today's strategies note units in the
/// order of building and attach no engine.
class UnitBase : public torch::nn::Module {
 public:
  using torch::nn::Module::Module;
  /// The engine is not owned and must outlive the unit's last forward; null: nothing is done around compute.
  void attach(UnitEngine* engine) noexcept { engine_ = engine; }

 protected:
  UnitEngine* engine_ = nullptr;
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
    InUnit here(static_cast<const torch::nn::Module*>(this), typeid(*this));
    (for_each_tensor(args, [&](const Tensor& input) { here.inputs().add(input); }), ...);
    if (!engine_) return compute(std::forward<Args>(args)...);
    engine_->enter();
    Result result = compute(std::forward<Args>(args)...);
    engine_->leave([&](const std::function<void(Tensor&)>& fn) { for_each_tensor(result, fn); });
    return result;
  }

 protected:
  virtual Result compute(Args... args) = 0;
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
