#pragma once
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <vector>

#include "levin/device/host_copy.h"
#include "levin/optim/loss_scaler.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/session/session_config.h"

namespace levin {

class MpiRuntime;
class StateDict;
class Strategy;

/// Keeps a session's gradients in the range of their dtype: the scale of the loss in 16-mixed, a measure of the weights in fp16; and skips
/// updates whose mean gradient is not finite.
///
/// On a device whose strategy can skip updates there (Strategy::skips_on_device) a step does not wait: whether its gradient is finite, and
/// the scale of the loss, stay on the device. The host reads them in the step after, or when it is asked for them; what is logged, counted
/// and thrown then names the step that it belongs to.
class GradientScaling {
 public:
  GradientScaling(const SessionConfig& config, Strategy& strategy, const MpiRuntime& runtime);
  /// The strategy was set up for these optimizers.
  void begin(const std::vector<OptimizerSpec>& specs);

  /// What a rank's micro-batches of a step will weigh together, the same number on all ranks; from the first step on it is known. In fp16
  /// gradients are kept in its measure, that they may not overflow for it.
  void expect_weight(double weight);
  /// Looks at an optimizer's mean gradient, where that is wanted; with nonfinite_gradients: error an Error on all ranks. Collective.
  void check_finite(size_t optimizer, int64_t step);
  /// Whether the coming update is skipped; call once per update. False where the device decides.
  bool skips(size_t optimizer);
  /// For Strategy::update: the device's decision about the coming update; undefined where the host decides.
  const Tensor& skip_on_device(size_t optimizer) const { return skip_[optimizer]; }
  void end_update(size_t optimizer, bool skipped, int64_t step);
  /// Waits for the device, and handles the results of the steps before `step`, in their order; of all steps by default. Error as of
  /// check_finite. Local, with the same results on all ranks.
  void settle(int64_t step = std::numeric_limits<int64_t>::max());

  /// Null except in 16-mixed. Its state is that after the last step; waits for it.
  const LossScaler* loss_scaler();
  /// Skipped updates, including those of the last step; waits for it.
  int64_t skipped_steps();
  /// The same without waiting: the results of the last step may be missing.
  const LossScaler* known_loss_scaler() const noexcept { return scaler_ ? &*scaler_ : nullptr; }
  int64_t known_skipped_steps() const noexcept { return skipped_steps_; }
  /// The state between two steps, for checkpoints.
  void save(StateDict& state);
  void load(const StateDict& state);

 private:
  /// The result of an update, on its way to the host: skipped, and the scale and its good steps afterwards.
  struct Update {
    size_t optimizer;
    int64_t step;
    HostCopy result;
  };
  NonfiniteGradients policy() const noexcept { return scaler_ ? NonfiniteGradients::skip : config_.nonfinite_gradients; }
  [[noreturn]] static void throw_nonfinite(int64_t step);
  void set_device_scale();
  void update_device_scale(const Tensor& skip);
  void handle(const Update& update);
  void scale_gradients();
  void count_skipped(int64_t step);

  SessionConfig config_;
  Strategy* strategy_;
  const MpiRuntime* runtime_;
  std::optional<LossScaler> scaler_;
  double weight_unit_ = 1;       // a power of two near a rank's weight of a step; other than 1 in fp16 alone
  std::vector<char> nonfinite_;  // by optimizer: its mean gradient
  int64_t skipped_steps_ = 0;

  // Where the device decides.
  bool on_device_ = false;
  std::vector<Tensor> skip_;                              // by optimizer: of the coming update
  Tensor device_scale_, device_good_steps_, used_scale_;  // float64; used_scale_: the strategy's
  std::deque<Update> updates_;                            // not yet handled
};

}  // namespace levin
