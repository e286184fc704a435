#include "levin/trainer/fit_loop.h"

#include <algorithm>

#include "levin/core/error.h"
#include "levin/optim/torch_optimizer.h"
#include "levin/session/state_reader.h"
#include "run_guards.h"
#include "run_state.h"

namespace levin {

FitLoop::FitLoop(Trainer& trainer, Module& module, DataModule& data)
    : trainer_(trainer),
      module_(module),
      data_(data),
      config_(trainer.config()),
      session_(trainer.session()),
      hooks_(trainer.hooks()),
      run_state_(std::make_unique<detail::RunState>(trainer, module, data, logs_)) {
  if (module.automatic_optimization()) {
    if (session_.optimizers().size() > 1)
      throw UsageError("trainer", fmt::format("configure_optimizers gave {} optimizers", session_.optimizers().size()),
                       "return false from automatic_optimization, and call optimize for each of them in training_step");
    return;
  }
  if (config_.accumulate_grad_batches > 1)
    throw ConfigError(fmt::format("accumulate_grad_batches is {}, and the model optimizes manually", config_.accumulate_grad_batches),
                      "let training_step take a step every N batches", "trainer");
  manual_.emplace(trainer, module);
}

FitLoop::~FitLoop() = default;

void FitLoop::set_lengths() {
  if (const Limit* interval = config_.val_check_interval.limit()) {
    const bool at_the_end = interval->is_fraction() && interval->number() == 1;
    if (!at_the_end && interval->is_fraction() && !loader_->length())
      throw ConfigError(fmt::format("val_check_interval is {} of an epoch of unknown length", interval->to_text()),
                        "give a number of batches, a time, or 1.0", "trainer");
    if (!at_the_end)
      val_every_ = interval->is_fraction() ? std::max<int64_t>(1, interval->of(batches_)) : static_cast<int64_t>(interval->number());
  }
  if (validation_ && config_.check_val_every_n_epoch && val_every_ > batches_ && batches_ > 0)
    throw ConfigError(fmt::format("val_check_interval is {} batches, an epoch has {}", val_every_, batches_),
                      "give a smaller number, or a part of an epoch such as 0.5, or set check_val_every_n_epoch to null", "trainer");
  auto& progress = session_.progress();
  progress.total_epochs = std::max<int64_t>(0, *config_.max_epochs);
  progress.total_steps = 0;
  if ((batches_ < Trainer::unlimited) && (*config_.max_epochs > 0))
    progress.total_steps = *config_.max_epochs * ((batches_ + config_.accumulate_grad_batches - 1) / config_.accumulate_grad_batches);
  if (config_.max_steps >= 0)
    progress.total_steps = progress.total_steps > 0 ? std::min(progress.total_steps, config_.max_steps) : config_.max_steps;
}

// Before the first step, rather than a training that cannot go on later.
void FitLoop::check_optimizers() const {
  if (trainer_.checkpoints().folder().empty()) return;
  for (size_t i = 0; i < session_.optimizers().size(); i++)
    if (const auto* custom = session_.strategy().custom_optimizer(i); custom && !custom->keeps_state())
      throw UsageError("trainer", fmt::format("checkpoints cannot keep what the custom optimizer {} remembers", custom->name()),
                       "derive it from levin::OptimizerMemory, too, or make checkpoints of weights alone (save_weights_only), or none "
                       "(--trainer.enable_checkpointing false)");
}

void FitLoop::run(const LoadFrom& from) {
  check_optimizers();
  std::optional<StateReader> saved;
  if (from.checkpoint) {
    saved.emplace(session_, from);
    saved->loop();  // fails before the model changes
    saved->load_model(/*weights_only=*/false);
    auto states = run_state_->others();
    saved->load(*states.front());  // the data module's
    if (const auto why = why_complete(saved->loop()); !why.empty()) return keep_complete(saved->loop(), why);
    for (size_t i = 1; i < states.size(); i++) saved->load(*states[i]);
  } else if (from.init) {
    session_.load_weights(*from.init);
  }
  trainer_.take_new_metrics();  // of earlier runs
  hooks_.call("on_fit_start", &Hooks::on_fit_start);
  if (!saved) sanity_check();  // it would change what resumes
  loader_ = trainer_.make_loader(call("train_dataloader", data_, [&] { return data_.train_dataloader(); }), /*training=*/true);
  batches_ = Trainer::allowed_batches(config_.limit_train_batches, *loader_, "limit_train_batches");
  if (batches_ == 0 && session_.rank() == 0)
    session_.runtime().log().warning("[trainer] {}: there is nothing to train",
                                     loader_->length() == 0 ? "the training data have no batches" : "limit_train_batches is 0");
  load_validation();
  trainer_.set_validates(validation_.has_value());
  set_lengths();
  session_.scaling().expect_weight(static_cast<double>(loader_->step_samples()) / session_.mesh().data().size());
  module_.train();
  started_ = validated_ = std::chrono::steady_clock::now();
  if (saved) restore(*saved);
  begin(saved ? &*saved : nullptr, from.of_this_run);
  hooks_.call("on_train_start", &Hooks::on_train_start);
  run_epochs();
  end();
}

// From here on this training is the branch of its folders: nothing refuses it any more.
void FitLoop::begin(StateReader* saved, bool of_this_run) {
  const bool has_past = trainer_.checkpoints().begin_branch(saved ? &saved->checkpoint() : nullptr, of_this_run);
  if (session_.rank() != 0) return;
  if (saved && has_past)
    for (auto* state : run_state_->loggers()) saved->load(*state);
  for (const auto& logger : trainer_.loggers()) logger->begin_training(session_.progress().step);
}

// ModelCheckpoint asks for the end's checkpoint in on_train_end.
void FitLoop::end() {
  auto& checkpoints = trainer_.checkpoints();
  const auto place = [this] { return state(); };
  if (session_.must_exit())
    checkpoints.save_for_stop(place);
  else
    checkpoints.finish();
  hooks_.call("on_train_end", &Hooks::on_train_end);
  if (!session_.must_exit()) checkpoints.at_boundary(place);
  checkpoints.end_training();
  hooks_.call("on_fit_end", &Hooks::on_fit_end);
}

void FitLoop::run_epochs() {
  trainer_.checkpoints().begin_training();
  note_complete_step();
  try {
    while (!enough() || in_epoch_) {  // a start that was stopped at the last step has not ended its epoch
      run_epoch();
      if (session_.must_exit()) break;
    }
  } catch (const CommunicatorAborted&) {
    throw;
  } catch (const std::exception& error) {
    const std::string why = explain(error);
    const ErrorPlaceKept kept;
    trainer_.checkpoints().save_on_exception(why, complete_);
    throw;
  }
}

void FitLoop::note_complete_step() {
  if (!trainer_.checkpoints().saves_on_exception()) return;
  complete_ = state();
  complete_.set("ended", false);  // what threw is tried again
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

// What time tells a rank travels with the step, so that all ranks act after the same one.
void FitLoop::watch_the_time() {
  const auto now = std::chrono::steady_clock::now();
  const auto passed = [now](auto since, const Seconds& time) { return std::chrono::duration<double>(now - since).count() >= time.value; };
  if (config_.max_time && passed(started_, *config_.max_time)) session_.request_stop(StopReason::time_over);
  if (const Seconds* time = config_.val_check_interval.time(); time && passed(validated_, *time)) session_.request_validation();
}

void FitLoop::load_validation() {
  if (validation_ || config_.limit_val_batches.number() == 0) return;
  validation_.emplace(trainer_, Stage::fit, module_, data_);
  if (!validation_->has_batches()) validation_.reset();
}

void FitLoop::sanity_check() {
  if (config_.num_sanity_val_steps == 0 || config_.limit_val_batches.number() == 0) return;
  hooks_.call("on_sanity_check_start", &Hooks::on_sanity_check_start);
  load_validation();
  if (validation_) validation_->sanity_check(*config_.num_sanity_val_steps);
  hooks_.call("on_sanity_check_end", &Hooks::on_sanity_check_end);
}

void FitLoop::run_epoch() {
  const LogTarget target(trainer_, module_, logs_);
  const bool goes_on = std::exchange(in_epoch_, true);
  if (!goes_on) {
    loader_->set_epoch(session_.progress().epoch);
    batch_idx_ = 0;
  }
  trainer_.batch_progress() = {batch_idx_, batches_ == Trainer::unlimited ? 0 : batches_};
  clock_ = std::chrono::steady_clock::now();
  if (!goes_on) hooks_.call("on_train_epoch_start", &Hooks::on_train_epoch_start);
  bool more = !enough();
  int64_t done = batch_idx_;
  if (std::exchange(validation_given_up_, false)) {  // by the start before this one
    batch_idx_--;
    validate();
    end_batch();
    batch_idx_++;
    more = !enough();
  }
  for (; more && batch_idx_ < batches_; batch_idx_++) {
    Batch* batch = call("reading the next training batch", *loader_, [&] { return loader_->next(); });
    if (!batch) break;
    train_batch(*batch);
    done = batch_idx_ + 1;
    if (enough()) break;
  }
  stop_clock();
  if (session_.must_exit()) return;  // in the middle of the epoch
  // A limit may end the training in the middle of an epoch; with a higher one it resumes there, so checkpoints keep this place.
  const bool cut_short = enough() && done < batches_ && !loader_->at_end();
  if (cut_short) trainer_.checkpoints().keep_place(state());
  in_epoch_ = false;
  trainer_.end_train_epoch(logs_);
  session_.progress().epoch++;
  trainer_.report().epochs++;
  if (!cut_short) step_schedulers(Interval::epoch);
  at_boundary();
}

void FitLoop::at_boundary() {
  trainer_.checkpoints().at_boundary([this] { return state(); });
  note_complete_step();
}

void FitLoop::train_batch(Batch& batch) {
  if (micro_batch_ == 0) step_began_ = std::chrono::steady_clock::now();
  watch_the_time();
  session_.seed_micro_batch(micro_batch_);
  {
    const PaddingGuard padding(module_, batch);
    trainer_.transfer(batch, module_, data_);
  }
  hooks_.call("on_train_batch_start", &Hooks::on_train_batch_start, batch, batch_idx_);
  module_.begin_batch();
  const int64_t skipped_before = session_.scaling().skipped_steps();
  const Tensor loss = manual_ ? optimize_manually(batch) : optimize_automatically(batch);
  trainer_.report().samples += loader_->global_samples();
  trainer_.report().skipped_steps += session_.scaling().skipped_steps() - skipped_before;
  all_batches_++;
  if (micro_batch_ == 0) note_complete_step();
  trainer_.batch_progress().done = batch_idx_ + 1;
  hooks_.call("on_train_batch_end", &Hooks::on_train_batch_end, loss, batch, batch_idx_);
  if (micro_batch_ == 0) log_if_due();
  validate_if_due();
  if (micro_batch_ == 0) end_batch();
}

// Of a step; after a validation that was given up it is left to the next start.
void FitLoop::end_batch() {
  if (validation_given_up_) return session_.note_values(trainer_.take_new_metrics());
  step_schedulers(Interval::step);
  at_boundary();
  if (!session_.late_agreement_wanted()) return;
  session_.forget_late_agreement();
  session_.meet();  // a signal that arrived after the step's exchange does not wait for a whole long step
}

// All ranks see this wish in the step's exchange, or none.
void FitLoop::ask_for_late_agreement() {
  constexpr std::chrono::milliseconds long_step{100};
  if (std::chrono::steady_clock::now() - step_began_ >= long_step) session_.request_late_agreement();
}

// A monitored value may still come until an epoch and a validation have ended.
void FitLoop::step_schedulers(Interval moment) {
  const bool all_logged = session_.progress().epoch > 0 && (validated_once_ || !validation_);
  session_.note_values(trainer_.take_new_metrics());
  session_.step_schedulers(moment, all_logged ? &trainer_.report().metrics : nullptr);
}

Tensor FitLoop::training_step(const Batch& batch) {
  return call("training_step", module_, batch, [&] {
    const auto autocast = session_.autocast();
    return module_.training_step(batch);
  });
}

Tensor FitLoop::optimize_automatically(const Batch& batch) {
  Tensor loss;
  {
    const PaddingGuard padding(module_, batch);  // checkpointed units compute again in the backward
    logs_.begin_batch(batch);
    loss = training_step(batch);
    if (micro_batch_ == 0) {
      hooks_.call("on_before_zero_grad", &Hooks::on_before_zero_grad, optimizer_name());
      session_.zero_grad();
    }
    hooks_.call("on_before_backward", &Hooks::on_before_backward, loss);
    micro_batch_++;
    if (step_is_due()) session_.expect_step();
    call("backward", module_, batch, [&] { session_.backward(loss, module_.weight_of(batch)); });
    hooks_.call("on_after_backward", &Hooks::on_after_backward);
  }
  if (step_is_due()) optimizer_step();
  return loss;
}

Tensor FitLoop::optimize_manually(const Batch& batch) {
  const PaddingGuard padding(module_, batch);
  logs_.begin_batch(batch);
  manual_->begin(batch);
  auto before = std::exchange(complete_, {});
  Tensor loss = training_step(batch);
  micro_batch_++;
  if (!manual_->stepped()) complete_ = std::move(before);
  if (manual_->stepped()) {
    micro_batch_ = 0;
    session_.count_step();
    trainer_.report().steps++;
  }
  return loss;
}

std::string_view FitLoop::optimizer_name() const noexcept {
  return session_.optimizers().empty() ? std::string_view() : session_.optimizers().front();
}

bool FitLoop::last_batch() const noexcept { return batch_idx_ + 1 == batches_ || loader_->at_end(); }

bool FitLoop::step_is_due() const noexcept { return micro_batch_ == config_.accumulate_grad_batches || last_batch(); }

void FitLoop::optimizer_step() {
  micro_batch_ = 0;
  complete_ = {};
  ask_for_late_agreement();
  if (!session_.reduce()) return;
  const auto name = optimizer_name();
  hooks_.call("on_before_optimizer_step", &Hooks::on_before_optimizer_step, name);
  if (name.empty()) {
    session_.update();  // of nothing: a training without an optimizer measures what the rest takes
  } else {
    call("configure_gradient_clipping", module_,
         [&] { module_.configure_gradient_clipping(name, config_.session.gradient_clip_val, config_.session.gradient_clip_algorithm); });
    call("optimizer_step", module_, [&] { module_.optimizer_step(name, [this] { session_.update(); }); });
  }
  session_.count_step();
  trainer_.report().steps++;
}

void FitLoop::log_if_due() {
  if (session_.progress().step % *config_.log_every_n_steps != 0) return;
  auto values = logs_.step_values(session_.mesh().data_communicator());
  if (const auto* scaler = session_.scaling().loss_scaler(); scaler && !config_.barebones)
    values.insert(values.end(),
                  {{"loss_scale", scaler->scale()}, {"skipped_steps", static_cast<double>(session_.scaling().skipped_steps())}});
  trainer_.log_metrics(values);
}

bool FitLoop::validation_is_due() const noexcept {
  const auto& every = config_.check_val_every_n_epoch;
  if (!validation_ || (every && (session_.progress().epoch + 1) % *every != 0)) return false;
  if (session_.should_stop() && may_stop() && !session_.must_exit()) return true;  // as Lightning: what is kept has been validated
  if (config_.val_check_interval.time()) return session_.validation_wanted();
  if (val_every_ == 0) return last_batch();
  return (every ? batch_idx_ + 1 : all_batches_) % val_every_ == 0;
}

void FitLoop::validate_if_due() {
  if (validation_is_due()) validate();
}

void FitLoop::validate() {
  stop_clock();
  session_.forget_validation();
  module_.on_validation_model_zero_grad();
  if (micro_batch_ == 0 && !complete_.empty()) complete_.set("validation_given_up", true);  // a restart begins it again
  validation_->run(/*may_be_given_up=*/micro_batch_ == 0);                                  // else its step could not be saved
  validation_given_up_ = validation_->given_up();
  if (!validation_given_up_) validated_once_ = true;
  trainer_.batch_progress() = {batch_idx_ + 1, batches_ == Trainer::unlimited ? 0 : batches_};
  clock_ = validated_ = std::chrono::steady_clock::now();
}

void FitLoop::stop_clock() {
  trainer_.report().train_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - clock_).count();
}

}  // namespace levin
