#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "levin/optim/loss_scaler.h"
#include "levin/optim/optimizer_spec.h"
#include "levin/session/session_config.h"

namespace levin {

class MpiRuntime;
class StateDict;
class Strategy;

/// Keeps a session's gradients in the range of their dtype: the scale of the loss in 16-mixed, a measure of the weights in fp16; and says
/// what becomes of a step whose mean gradient is not finite.
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
  /// Whether the update that comes is to be left out; asked once for each.
  bool skips(size_t optimizer);
  void end_update(bool skipped, int64_t step);

  /// Null but in 16-mixed.
  const LossScaler* loss_scaler() const noexcept { return scaler_ ? &*scaler_ : nullptr; }
  /// Updates that were left out.
  int64_t skipped_steps() const noexcept { return skipped_steps_; }
  /// What must be remembered of all this between two steps.
  void save(StateDict& state) const;
  void load(const StateDict& state);

 private:
  void scale_gradients();
  void count_skipped(int64_t step);

  SessionConfig config_;
  Strategy* strategy_;
  const MpiRuntime* runtime_;
  std::optional<LossScaler> scaler_;
  double weight_unit_ = 1;       // a power of two near a rank's weight of a step; other than 1 in fp16 alone
  std::vector<char> nonfinite_;  // by optimizer: its mean gradient
  int64_t skipped_steps_ = 0;
};

}  // namespace levin
