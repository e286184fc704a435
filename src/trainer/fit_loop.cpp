#include "fit_loop.h"

#include <algorithm>
#include <utility>

#include "../data/stalled_loaders.h"
#include "../session/part_timer.h"
#include "levin/comm/node_group.h"
#include "levin/core/error.h"
#include "levin/session/checkpoints.h"
#include "levin/session/state_reader.h"
#include "levin/trainer/module.h"
#include "profiler_list.h"
#include "queued_logger.h"
#include "run_guards.h"

namespace levin {

FitLoop::FitLoop(Run& run)
    : run_(run),
      module_(run.module()),
      config_(run.config()),
      session_(run.session()),
      checkpoints_(run.checkpoints()),
      hooks_(run.hooks()),
      run_state_(run, logs_),
      step_(TrainStep::make(run, logs_)),
      data_wait_(session_) {
  step_->set_before_exchange([this] { announce_data(); });
}

FitLoop::~FitLoop() {
  if (session_.must_exit()) detail::end_loader(std::move(loader_));
}

void FitLoop::run(const LoadFrom& from) {
  check_optimizers();
  std::optional<StateReader> saved;
  if (from.checkpoint) {
    saved.emplace(session_, from);
    saved->loop();  // fails before the model changes
    saved->load_model(/*weights_only=*/false);
    auto states = run_state_.others();
    saved->load(*states.front());  // the data module's
    if (const auto why = why_complete(saved->loop()); !why.empty()) return keep_complete(saved->loop(), why);
    for (size_t i = 1; i < states.size(); i++) saved->load(*states[i]);
  } else if (from.init) {
    session_.load_weights(*from.init);
  }
  run_.logging().take_new_metrics();  // of earlier runs
  hooks_.call("on_fit_start", &Hooks::on_fit_start);
  if (!saved) sanity_check();  // it would change what resumes
  // A data module may ask for the epoch: it sees that in which the training, had it never ended, asked for its loaders.
  const int64_t every = config_.reload_dataloaders_every_n_epochs;
  if (saved && every > 0) session_.progress().epoch = saved->loop().get<int64_t>("epoch") / every * every;
  load_training_data();
  prepare_epoch(saved ? saved->loop().get<int64_t>("epoch") : session_.progress().epoch);
  if (batches_ == 0 && session_.rank() == 0)
    session_.runtime().log().warning("[trainer] {}: there is nothing to train",
                                     loader_->length() == 0 ? "the training data have no batches" : "limit_train_batches is 0");
  load_validation();
  run_.set_validates(validation_.has_value());
  set_lengths();
  if (saved) restore_reload(saved->loop());
  session_.progress().total_epochs = std::max<int64_t>(0, *config_.max_epochs);
  session_.progress().total_steps = total_steps();
  module_.train();
  started_ = validated_ = std::chrono::steady_clock::now();
  if (saved) restore(*saved);
  if (!enough()) {
    check_schedules();
    report_unlogged_metrics();
  }
  counted_skips_ = session_.scaling().skipped_steps();
  begin(saved ? &*saved : nullptr, from.of_this_run);
  hooks_.call("on_train_start", &Hooks::on_train_start);
  run_epochs();
  end();
}

// From here on this training is the branch of its folders: nothing refuses it any more.
void FitLoop::begin(StateReader* saved, bool of_this_run) {
  const bool has_past = checkpoints_.begin_branch(saved ? &saved->checkpoint() : nullptr, of_this_run);
  if (session_.rank() != 0) return;
  if (saved && has_past)
    for (auto* state : run_state_.loggers()) saved->load(*state);
  for (const auto& logger : run_.logging().loggers()) logger->begin_training(session_.progress().step);
}

// ModelCheckpoint asks for the end's checkpoint in on_train_end.
void FitLoop::end() {
  settle();
  const auto loop_state = [this] { return state(); };
  if (session_.must_exit())
    checkpoints_.save_for_stop(loop_state);
  else
    checkpoints_.finish();
  hooks_.call("on_train_end", &Hooks::on_train_end);
  if (!session_.must_exit()) checkpoints_.at_boundary(loop_state);
  checkpoints_.end_training();
  hooks_.call("on_fit_end", &Hooks::on_fit_end);
}

void FitLoop::run_epochs() {
  checkpoints_.begin_training();
  note_complete_step();
  data_wait_.announce_epoch(*loader_);
  session_.exchange_requests();  // a signal that arrived during the preparation makes no step
  data_wait_.note();
  try {
    while (!enough() || in_epoch_) {  // an attempt that was stopped at the last step has not ended its epoch
      run_epoch();
      if (session_.must_exit()) break;
    }
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    const std::string why = explain(error);
    const KeepErrorContext kept;
    checkpoints_.save_on_exception(why, step_->update_begun() ? StateDict() : complete_);
    throw;
  }
}

void FitLoop::note_complete_step() {
  if (!checkpoints_.saves_on_exception()) return;
  complete_ = state();
  complete_.set("ended", false);  // what threw is tried again
  step_->mark_complete();
}

bool FitLoop::enough() const noexcept {
  const auto& progress = session_.progress();
  return batches_ == 0 || (*config_.max_epochs >= 0 && progress.epoch >= *config_.max_epochs) ||
         (config_.max_steps >= 0 && progress.step >= config_.max_steps) || (session_.should_stop() && may_stop());
}

// A signal ends the training whatever it is meant to reach.
bool FitLoop::may_stop() const noexcept {
  const auto& progress = session_.progress();
  return session_.must_exit() || (progress.epoch >= *config_.min_epochs && progress.step >= *config_.min_steps);
}

// Time-based requests travel with the step, so that all ranks act after the same step.
void FitLoop::watch_the_time() {
  const auto now = std::chrono::steady_clock::now();
  const auto passed = [now](auto since, const Seconds& time) { return std::chrono::duration<double>(now - since).count() >= time.value; };
  if (config_.max_time && passed(started_, *config_.max_time)) session_.request_stop(StopReason::time_over);
  if (const Seconds* time = config_.val_check_interval.time(); time && passed(validated_, *time)) session_.request_validation();
}

void FitLoop::run_epoch() {
  const LogTarget target(run_, logs_);
  const bool resumed = std::exchange(in_epoch_, true);
  if (!resumed) {
    loader_->set_epoch(session_.progress().epoch);
    batch_idx_ = 0;
  }
  run_.begin_pass(batches_, batch_idx_);
  clock_ = std::chrono::steady_clock::now();
  if (!resumed) hooks_.call("on_train_epoch_start", &Hooks::on_train_epoch_start);
  bool more = !enough();
  int64_t done = batch_idx_;
  if (std::exchange(validation_interrupted_, false)) {  // in the attempt before
    batch_idx_--;
    validate();
    end_batch();
    batch_idx_++;
    more = !enough();
  }
  for (; more && batch_idx_ < batches_; batch_idx_++) {
    if (auto* profilers = run_.profilers(); profilers && step_->micro_batch() == 0) profilers->begin_step();
    step_times_.resume();
    Batch* batch = next_batch();
    if (!batch) break;
    train_batch(*batch);
    done = batch_idx_ + 1;
    if (enough()) break;
  }
  step_times_.pause();
  settle();
  stop_clock();
  if (session_.must_exit()) return;  // in the middle of the epoch
  // A limit may end the training in the middle of an epoch; with a higher one it resumes there, so checkpoints keep this state.
  const bool cut_short = enough() && done < batches_ && !loader_->at_end();
  if (cut_short)
    checkpoints_.keep_state(state());
  else
    run_.batch_progress() = {done, done};  // the length of a stream is known at its end
  in_epoch_ = false;
  run_.end_train_epoch(logs_);
  session_.progress().epoch++;
  run_.report().epochs++;
  prepare_epoch(session_.progress().epoch);  // before the state is saved
  if (!cut_short) step_schedulers(Interval::epoch);
  at_boundary();
}

void FitLoop::at_boundary() {
  checkpoints_.at_boundary([this] {
    settle();
    return state();
  });
  note_complete_step();
}

void FitLoop::train_batch(Batch& batch) {
  step_->begin();
  watch_the_time();
  {
    const detail::PartTimer timer(detail::TimePart::data);
    const PaddingGuard padding(module_, batch);
    run_.transfer(batch);
  }
  hooks_.call("on_train_batch_start", &Hooks::on_train_batch_start, batch, batch_idx_);
  module_.begin_batch();
  const Tensor loss = step_->run(batch, last_batch());
  data_wait_.note();
  step_times_.pause();
  run_.report().samples += loader_->global_samples();
  count_skipped();
  all_batches_++;
  const bool complete = step_->micro_batch() == 0;
  if (complete) {
    note_complete_step();
    step_times_.end_step();
  }
  session_.flight().set_step(session_.progress().step);
  session_.flight().advance();
  run_.batch_progress().done = batch_idx_ + 1;
  hooks_.call_others("on_train_batch_end", &Hooks::on_train_batch_end, loss, batch, batch_idx_);
  if (complete) log_if_due();
  hooks_.call_monitors("on_train_batch_end", &Hooks::on_train_batch_end, loss, batch, batch_idx_);
  validate_if_due();
  if (complete) end_batch();
}

// Of a step; after a validation that was interrupted it is left to the next attempt.
void FitLoop::end_batch() {
  if (validation_interrupted_) return session_.note_values(run_.logging().take_new_metrics());
  step_schedulers(Interval::step);
  at_boundary();
  if (session_.step_times_wanted()) {
    session_.forget_step_times();
    straggler_report_.compare(session_, step_times_);
  }
  if (!session_.late_agreement_wanted()) return;
  session_.forget_late_agreement();
  session_.exchange_requests();  // a signal that arrived after the step's exchange does not wait for a whole long step
}

// A monitored value may still come until an epoch and a validation have ended. One that has not is refused then, whenever a schedule would
// look for it.
void FitLoop::step_schedulers(Interval interval) {
  const bool all_logged = session_.progress().epoch > 0 && (validated_once_ || !validation_);
  session_.note_values(run_.logging().take_new_metrics());
  if (all_logged && interval == Interval::epoch) session_.check_monitors(run_.report().metrics);
  session_.step_schedulers(interval, all_logged ? &run_.report().metrics : nullptr);
}

void FitLoop::stop_clock() {
  run_.report().train_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - clock_).count();
}

}  // namespace levin
