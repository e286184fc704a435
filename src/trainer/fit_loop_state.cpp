#include "levin/core/error.h"
#include "levin/session/state_reader.h"
#include "levin/trainer/fit_loop.h"
#include "run_state.h"

namespace levin {

// Where the training stands, between two steps.
StateDict FitLoop::state() const {
  StateDict state;
  session_.add_progress(state);
  const auto place = loader_->state();
  state.set("in_epoch", in_epoch_);
  state.set("validation_given_up", validation_given_up_);
  state.set("loader.epoch", place.epoch);
  state.set("loader.samples", place.samples);
  state.set("loader.step_samples", loader_->step_samples());
  state.set("all_batches", all_batches_);
  state.set("ranks", session_.mesh().data().size());
  state.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count());
  for (const auto& [name, value] : trainer_.report().metrics) state.set("metric." + name, value);
  return state;
}

void FitLoop::restore(StateReader& saved) {
  const StateDict& state = saved.loop();
  const int64_t ranks = state.get<int64_t>("ranks"), step_samples = state.get<int64_t>("loader.step_samples");
  if (step_samples != loader_->step_samples())
    throw ConfigError(fmt::format("a step of the run had {} samples on {} ranks, and has {} on {}", step_samples, ranks,
                                  loader_->step_samples(), session_.mesh().data().size()),
                      fmt::format("keep them with --data.global_batch_size {0}, or the batch_size that makes {0}", step_samples),
                      "checkpoint");
  if (step_samples == 0 && ranks != session_.mesh().data().size())
    throw ConfigError(fmt::format("the run read its streams on {} ranks, and goes on with {}", ranks, session_.mesh().data().size()),
                      "a stream is cut by ranks: start as many", "checkpoint");
  session_.restore_progress(state);
  all_batches_ = state.get<int64_t>("all_batches");
  in_epoch_ = state.get<bool>("in_epoch");
  validation_given_up_ = state.get<bool>("validation_given_up") && validation_;
  started_ -= std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(state.get<double>("seconds")));
  auto& metrics = trainer_.report().metrics;
  metrics.clear();
  for (const auto& [name, value] : state.values())
    if (name.starts_with("metric.")) metrics.emplace_back(name.substr(7), state.get<double>(name));
  if (!in_epoch_) return;
  batch_idx_ = loader_->restore({state.get<int64_t>("loader.epoch"), state.get<int64_t>("loader.samples")});
  saved.load(run_state_->running());
  saved.load(run_state_->metrics());
}

}  // namespace levin
