#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "levin/core/batch.h"
#include "levin/core/trace_context.h"

namespace levin {

class StateDict;

/// The stage of a run.
enum class Stage { fit, validate, test, predict };
const char* stage_name(Stage stage) noexcept;

/// Moments of a run at which a Module or a Callback may act; both override what they need. Names and order are Lightning's: callbacks
/// first, then the module. Every hook is called on every rank.
class Hooks {
 public:
  virtual ~Hooks() = default;

  virtual void setup(Stage) {}
  virtual void teardown(Stage) {}

  virtual void on_fit_start() {}
  virtual void on_fit_end() {}
  virtual void on_sanity_check_start() {}
  virtual void on_sanity_check_end() {}
  virtual void on_train_start() {}
  virtual void on_train_end() {}
  virtual void on_train_epoch_start() {}
  virtual void on_train_epoch_end() {}
  virtual void on_train_batch_start(const Batch&, int64_t /*batch_idx*/) {}
  /// With manual optimization `loss` is what training_step returned, which may be undefined.
  virtual void on_train_batch_end(const Tensor& /*loss*/, const Batch&, int64_t /*batch_idx*/) {}

  virtual void on_before_zero_grad(std::string_view /*optimizer*/) {}
  virtual void on_before_backward(const Tensor& /*loss*/) {}
  virtual void on_after_backward() {}
  /// The mean gradient over all ranks, not clipped yet, can be read through Session::gradients.
  virtual void on_before_optimizer_step(std::string_view /*optimizer*/) {}

  virtual void on_validation_start() {}
  virtual void on_validation_end() {}
  virtual void on_validation_epoch_start() {}
  virtual void on_validation_epoch_end() {}
  virtual void on_validation_batch_start(const Batch&, int64_t /*batch_idx*/) {}
  virtual void on_validation_batch_end(const Batch&, int64_t /*batch_idx*/) {}

  virtual void on_test_start() {}
  virtual void on_test_end() {}
  virtual void on_test_epoch_start() {}
  virtual void on_test_epoch_end() {}
  virtual void on_test_batch_start(const Batch&, int64_t /*batch_idx*/) {}
  virtual void on_test_batch_end(const Batch&, int64_t /*batch_idx*/) {}

  virtual void on_predict_start() {}
  virtual void on_predict_end() {}
  virtual void on_predict_epoch_start() {}
  virtual void on_predict_epoch_end() {}
  virtual void on_predict_batch_start(const Batch&, int64_t /*batch_idx*/) {}
  virtual void on_predict_batch_end(const Tensor& /*prediction*/, const Batch&, int64_t /*batch_idx*/) {}

  /// A checkpoint is saved, or a training resumes from one: one dictionary for all hooks. Called where a step is complete, on all ranks;
  /// rank 0's values are kept.
  virtual void on_save_checkpoint(StateDict& /*checkpoint*/) {}
  virtual void on_load_checkpoint(const StateDict& /*checkpoint*/) {}
};

/// The hooks of a run, in the order in which they are called. Monitors are those that read metrics.
class HookList {
 public:
  void add(Hooks& hooks, bool monitor = false) {
    hooks_.push_back(&hooks);
    if (monitor) monitors_.push_back(&hooks);
  }
  void clear() noexcept { hooks_.clear(), monitors_.clear(); }
  template <class... Parameters, class... Args>
  void call(const char* name, void (Hooks::*hook)(Parameters...), Args&&... args) const {
    for (Hooks* hooks : hooks_) call_one(*hooks, name, hook, args...);
  }
  template <class... Parameters, class... Args>
  void call_others(const char* name, void (Hooks::*hook)(Parameters...), Args&&... args) const {
    for (Hooks* hooks : hooks_)
      if (std::find(monitors_.begin(), monitors_.end(), hooks) == monitors_.end()) call_one(*hooks, name, hook, args...);
  }
  template <class... Parameters, class... Args>
  void call_monitors(const char* name, void (Hooks::*hook)(Parameters...), Args&&... args) const {
    for (Hooks* hooks : monitors_) call_one(*hooks, name, hook, args...);
  }

 private:
  template <class... Parameters, class... Args>
  static void call_one(Hooks& hooks, const char* name, void (Hooks::*hook)(Parameters...), Args&&... args) {
    const HookScope scope(name, &typeid(hooks), batch_among(args...));
    (hooks.*hook)(args...);
  }
  template <class... Args>
  static const Batch* batch_among(const Args&... args) noexcept {
    const Batch* batch = nullptr;
    [[maybe_unused]] const auto check = [&](const auto& arg) {
      if constexpr (std::is_same_v<std::decay_t<decltype(arg)>, Batch>) batch = &arg;
    };
    (check(args), ...);
    return batch;
  }

  std::vector<Hooks*> hooks_, monitors_;
};

}  // namespace levin
