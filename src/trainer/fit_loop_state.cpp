#include <fmt/format.h>

#include "fit_loop.h"
#include "levin/core/error.h"
#include "levin/session/state_reader.h"

namespace levin {
namespace {

void restore_metrics(const StateDict& state, NamedValues& metrics) {
  metrics.clear();
  for (const auto& [name, value] : state.values())
    if (name.starts_with("metric.")) metrics.emplace_back(name.substr(7), state.get<double>(name));
}

// Steps of other samples would take what an epoch has left from other places. Before the first batch nothing was taken.
void check_step_samples(const StateDict& state, int64_t now, int ranks_now) {
  if (state.get<int64_t>("all_batches") == 0) return;
  const int64_t before = state.get<int64_t>("loader.step_samples"), ranks = state.get<int64_t>("ranks");
  const auto refuse = [](const std::string& message, const std::string& remedy) { throw ConfigError(message, remedy, "checkpoint"); };
  if ((before == 0) != (now == 0))
    refuse(
        fmt::format("the run read {}, and resumes with {}", before == 0 ? "each rank's part of the data" : "data in one order of all ranks",
                    now == 0 ? "each rank's part" : "data in one order of all ranks"),
        "resume with the data and the use_distributed_sampler of the run");
  if (before != now)
    refuse(fmt::format("samples per step changed from {} ({} ranks) to {} ({} ranks)", before, ranks, now, ranks_now),
           fmt::format("keep them with --data.global_batch_size {0}, or the batch_size that makes {0}", before));
  if (before == 0 && ranks != ranks_now)
    refuse(fmt::format("the run read each rank's part of the data on {} ranks and resumes with {}", ranks, ranks_now),
           "start as many: streams, parts by use_distributed_sampler false, and combined loaders whose steps differ have no order that "
           "other ranks could share");
}

}  // namespace

// The state of the training between two steps.
StateDict FitLoop::state() {
  StateDict state;
  session_.add_progress(state);
  const auto position = loader_->state();
  state.set("in_epoch", in_epoch_);
  state.set("ended", enough() && !session_.must_exit());
  state.set("stop.reasons", static_cast<int64_t>(session_.lasting_reasons()));
  state.set("stop.reason", run_.report().stop_reason);
  state.set("stop.options", stop_options());
  state.set("validation_interrupted", validation_interrupted_);
  state.set("loader.epoch", position.epoch);
  state.set("loader.samples", position.samples);
  state.set("loader.step_samples", loader_->step_samples());
  state.set("all_batches", all_batches_);
  if (reloaded_.epoch > 0) {
    state.set("reloaded.epoch", reloaded_.epoch);
    state.set("reloaded.step", reloaded_.step);
  }
  state.set("ranks", session_.mesh().data().size());
  state.set("seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count());
  for (const auto& [name, value] : run_.report().metrics) state.set("metric." + name, value);
  return state;
}

// Decides whether a stopped training stays stopped. Read before the callbacks' state is loaded.
std::string FitLoop::stop_options() const {
  const auto number = [](const std::optional<int64_t>& value) { return value ? fmt::to_string(*value) : std::string("null"); };
  std::string text =
      fmt::format("max_epochs {}, max_steps {}, min_epochs {}, min_steps {}, max_time {}", number(config_.max_epochs), config_.max_steps,
                  number(config_.min_epochs), number(config_.min_steps), config_.max_time ? config_.max_time->to_text() : "null");
  for (const auto& [key, callback] : detail::keyed_callbacks(run_))
    if (const auto options = callback->stop_options(); !options.empty()) text += fmt::format("\n{}: {}", key, options);
  return text;
}

// Why a checkpoint's training has nothing left to do under today's options; empty: it resumes. Restores a stop that still holds.
std::string FitLoop::why_complete(const StateDict& state) {
  const int64_t step = state.get<int64_t>("step"), epoch = state.get<int64_t>("epoch");
  const bool ended = !state.contains("ended") || state.get<bool>("ended"), in_epoch = state.get<bool>("in_epoch");
  if (config_.max_steps >= 0 && (step > config_.max_steps || (step == config_.max_steps && (ended || !in_epoch))))
    return fmt::format("max_steps {} is reached; raise --trainer.max_steps to continue", config_.max_steps);
  if (*config_.max_epochs >= 0 && epoch >= *config_.max_epochs)
    return fmt::format("max_epochs {} is reached; raise --trainer.max_epochs to continue", *config_.max_epochs);
  if (config_.max_time && state.get<double>("seconds") >= config_.max_time->value) session_.stop(StopReason::time_over);
  if (state.contains("stop.reasons") && state.get<std::string>("stop.options") == stop_options()) {
    session_.stop_again(static_cast<uint32_t>(state.get<int64_t>("stop.reasons")));
    run_.report().stop_reason = state.get<std::string>("stop.reason");
  }
  const bool may_stop = epoch >= *config_.min_epochs && step >= *config_.min_steps;
  if (!ended || !session_.should_stop() || !may_stop) return {};
  if (session_.stops_for(StopReason::time_over))
    return fmt::format("max_time {} is over; raise --trainer.max_time to continue", config_.max_time ? config_.max_time->to_text() : "");
  const auto& reason = run_.report().stop_reason;
  return fmt::format("{}; change the options of the callback that stopped it, or a limit such as --trainer.max_epochs, to continue",
                     reason.empty() ? "a callback stopped it" : reason);
}

void FitLoop::keep_complete(const StateDict& state, const std::string& why) {
  auto& report = run_.report();
  report.already_complete = true;
  session_.progress().epoch = state.get<int64_t>("epoch");
  session_.progress().step = state.get<int64_t>("step");
  restore_metrics(state, report.metrics);
  session_.runtime().log().info("[trainer] the run is complete at step {}, nothing is trained: {}", session_.progress().step, why);
}

void FitLoop::restore(StateReader& saved) {
  const StateDict& state = saved.loop();
  check_step_samples(state, loader_->step_samples(), session_.mesh().data().size());
  session_.restore_progress(state);
  all_batches_ = state.get<int64_t>("all_batches");
  in_epoch_ = state.get<bool>("in_epoch");
  const bool renamed = state.contains("validation_interrupted");  // since manifest 3
  validation_interrupted_ = state.get<bool>(renamed ? "validation_interrupted" : "validation_given_up") && validation_;
  started_ -= std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(state.get<double>("seconds")));
  restore_metrics(state, run_.report().metrics);
  saved.load(run_state_.running());
  if (!in_epoch_) return;
  batch_idx_ = loader_->restore({state.get<int64_t>("loader.epoch"), state.get<int64_t>("loader.samples")});
  saved.load(run_state_.metrics());
}

}  // namespace levin
