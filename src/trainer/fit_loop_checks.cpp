// What a training refuses or reports before its first step.
#include <c10/util/Type.h>
#include <fmt/format.h>

#include <typeinfo>

#include "fit_loop.h"
#include "levin/core/error.h"
#include "levin/core/text.h"
#include "levin/optim/torch_optimizer.h"
#include "levin/session/checkpoints.h"
#include "levin/session/monitored_value.h"

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

// A value may be logged by any hook at any time, so a missing one is refused only after an epoch and a validation. A name that resembles
// one of those that were logged is most likely mistyped.
void FitLoop::report_unlogged_metrics() const {
  if (session_.rank() != 0 || config_.fast_dev_run.batches > 0) return;
  NamedValues logged = run_.report().metrics;  // before the training resumed
  logged.insert(logged.end(), sanity_values_.begin(), sanity_values_.end());
  std::vector<std::string> known;
  for (const auto& [name, value] : logged) known.push_back(name);
  const auto report = [&](const std::string& user, const std::string& name) {
    if (find_monitored(logged, name, Interval::epoch)) return;
    if (const auto near = nearest_name(name, known); !near.empty())
      session_.runtime().log().warning(
          "[trainer] {} needs the metric \"{}\", which was not logged yet; did you mean {}? The training ends after its first epoch and "
          "validation if nothing logs it",
          user, name, near);
  };
  for (const auto& callback : run_.callbacks()) {
    const Callback& user = *callback;
    for (const auto& name : user.required_metrics()) report(unqualified(c10::demangle(typeid(user).name())), name);
  }
  for (const auto& name : session_.required_values()) report("a plateau schedule", name);
}

}  // namespace levin
