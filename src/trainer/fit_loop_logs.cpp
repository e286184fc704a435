// The values of steps, and when they are read from the device.
#include <algorithm>
#include <utility>

#include "fit_loop.h"
#include "levin/session/checkpoints.h"

namespace levin {

void FitLoop::log_if_due() {
  log_started();
  if (session_.progress().step % *config_.log_every_n_steps != 0) return;
  // Where a step's values decide about the next one, or may be saved after an exception, they are read at once.
  const bool later = !session_.device().is_cpu() && !session_.monitors_steps() && !checkpoints_.saves_on_exception();
  if (const int64_t step = session_.progress().step; later)
    started_log_ = StartedLog{step, logs_.start_step_values()};
  else
    log_step(step, logs_.step_values(session_.mesh().data_communicator()));
}

void FitLoop::log_started() {
  if (!started_log_) return;
  const auto [step, started] = *std::exchange(started_log_, std::nullopt);
  log_step(step, LogCollection::finish_step_values(*started, session_.mesh().data_communicator()));
  session_.note_values(run_.logging().take_new_metrics());
}

// With the scale that the step left.
void FitLoop::log_step(int64_t step, NamedValues values) {
  auto& scaling = session_.scaling();
  scaling.settle(step);
  if (const auto* scaler = scaling.known_loss_scaler(); scaler && !config_.barebones)
    values.insert(values.end(), {{"loss_scale", scaler->scale()}, {"skipped_steps", static_cast<double>(scaling.known_skipped_steps())}});
  run_.logging().log_metrics(values, std::max<int64_t>(0, step - 1));
}

// Waits for the device, so that a state holds all results of its steps. Collective.
void FitLoop::settle() {
  log_started();
  session_.scaling().settle();
  count_skipped();
}

void FitLoop::count_skipped() {
  const int64_t skipped = session_.scaling().known_skipped_steps();
  run_.report().skipped_steps += skipped - std::exchange(counted_skips_, skipped);
}

}  // namespace levin
