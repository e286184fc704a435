// What a training refuses before its first step.
#include <fmt/format.h>

#include "fit_loop.h"
#include "levin/core/error.h"
#include "levin/optim/torch_optimizer.h"
#include "levin/session/checkpoints.h"

namespace levin {

// Checked before the first step: otherwise a later resume would fail.
void FitLoop::check_optimizers() const {
  if (checkpoints_.folder().empty()) return;
  for (size_t i = 0; i < session_.optimizers().size(); i++)
    if (const auto* custom = session_.strategy().custom_optimizer(i); custom && !custom->keeps_state())
      throw UsageError("trainer", fmt::format("checkpoints cannot keep what the custom optimizer {} remembers", custom->name()),
                       "derive it from levin::OptimizerMemory, too, or make checkpoints of weights alone (save_weights_only), or none "
                       "(--trainer.enable_checkpointing false)");
}

// The lengths of the training are known, and nothing of it is visible yet.
void FitLoop::check_schedules() const {
  for (size_t i = 0; i < session_.optimizers().size(); i++) session_.learning_rate(i);
}

}  // namespace levin
