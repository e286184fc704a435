#pragma once
#include <functional>
#include <string>

#include "levin/trainer/callback.h"

namespace levin {

// A line a hook: name, parameters, and what is passed on.
// clang-format off
#define LEVIN_HOOKS(hook) \
  hook(setup, (Stage stage), stage) \
  hook(teardown, (Stage stage), stage) \
  hook(on_fit_start, ()) \
  hook(on_fit_end, ()) \
  hook(on_sanity_check_start, ()) \
  hook(on_sanity_check_end, ()) \
  hook(on_train_start, ()) \
  hook(on_train_end, ()) \
  hook(on_train_epoch_start, ()) \
  hook(on_train_epoch_end, ()) \
  hook(on_train_batch_start, (const Batch& batch, int64_t batch_idx), batch, batch_idx) \
  hook(on_train_batch_end, (const Tensor& loss, const Batch& batch, int64_t batch_idx), loss, batch, batch_idx) \
  hook(on_before_zero_grad, (std::string_view optimizer), optimizer) \
  hook(on_before_backward, (const Tensor& loss), loss) \
  hook(on_after_backward, ()) \
  hook(on_before_optimizer_step, (std::string_view optimizer), optimizer) \
  hook(on_validation_start, ()) \
  hook(on_validation_end, ()) \
  hook(on_validation_epoch_start, ()) \
  hook(on_validation_epoch_end, ()) \
  hook(on_validation_batch_start, (const Batch& batch, int64_t batch_idx), batch, batch_idx) \
  hook(on_validation_batch_end, (const Batch& batch, int64_t batch_idx), batch, batch_idx) \
  hook(on_test_start, ()) \
  hook(on_test_end, ()) \
  hook(on_test_epoch_start, ()) \
  hook(on_test_epoch_end, ()) \
  hook(on_test_batch_start, (const Batch& batch, int64_t batch_idx), batch, batch_idx) \
  hook(on_test_batch_end, (const Batch& batch, int64_t batch_idx), batch, batch_idx) \
  hook(on_predict_start, ()) \
  hook(on_predict_end, ()) \
  hook(on_predict_epoch_start, ()) \
  hook(on_predict_epoch_end, ()) \
  hook(on_predict_batch_start, (const Batch& batch, int64_t batch_idx), batch, batch_idx) \
  hook(on_predict_batch_end, (const Tensor& prediction, const Batch& batch, int64_t batch_idx), prediction, batch, batch_idx) \
  hook(on_save_checkpoint, (StateDict& checkpoint), checkpoint) \
  hook(on_load_checkpoint, (const StateDict& checkpoint), checkpoint) \
  hook(on_exception, (const std::string& message), message)
// clang-format on

namespace detail {
// (parameters of a hook) -> the type of its function.
template <class Hook>
struct FunctionOf;
template <class... Parameters>
struct FunctionOf<void(Parameters...)> {
  using type = std::function<void(Trainer&, Module&, Parameters...)>;
};
}  // namespace detail

/// A function a hook, of the trainer, the module and the hook's own arguments; those that are empty are not called.
struct LambdaHooks {
#define LEVIN_HOOK_MEMBER(name, parameters, ...) detail::FunctionOf<void parameters>::type name = {};
  LEVIN_HOOKS(LEVIN_HOOK_MEMBER)
#undef LEVIN_HOOK_MEMBER
};

/// A callback made of functions where it is needed:
///
///     trainer.add_callback(std::make_shared<LambdaCallback>(LambdaHooks{
///         .on_train_epoch_end = [](Trainer& trainer, Module&) { … },
///     }));
class LambdaCallback : public Callback {
 public:
  explicit LambdaCallback(LambdaHooks hooks) : hooks_(std::move(hooks)) {}

#define LEVIN_HOOK_CALL(name, parameters, ...)                                    \
  void name parameters override {                                                 \
    if (hooks_.name) hooks_.name(trainer(), module() __VA_OPT__(, ) __VA_ARGS__); \
  }
  LEVIN_HOOKS(LEVIN_HOOK_CALL)
#undef LEVIN_HOOK_CALL

 private:
  LambdaHooks hooks_;
};
#undef LEVIN_HOOKS

}  // namespace levin
