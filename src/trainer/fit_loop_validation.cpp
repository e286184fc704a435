// The validations of a training.
#include <chrono>

#include "fit_loop.h"
#include "levin/trainer/module.h"

namespace levin {

void FitLoop::load_validation() {
  if (validation_ || config_.limit_val_batches.number() == 0) return;
  validation_.emplace(run_, Stage::fit);
  if (!validation_->has_batches()) validation_.reset();
}

void FitLoop::sanity_check() {
  if (config_.num_sanity_val_steps == 0 || config_.limit_val_batches.number() == 0) return;
  hooks_.call("on_sanity_check_start", &Hooks::on_sanity_check_start);
  load_validation();
  if (validation_) sanity_values_ = validation_->sanity_check(*config_.num_sanity_val_steps);
  hooks_.call("on_sanity_check_end", &Hooks::on_sanity_check_end);
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
  settle();
  stop_clock();
  session_.forget_validation();
  module_.on_validation_model_zero_grad();
  const bool complete = step_->micro_batch() == 0;
  if (complete && !complete_.empty()) complete_.set("validation_interrupted", true);  // the next attempt begins it again
  validation_->run(/*may_be_interrupted=*/complete);                                  // else its step could not be saved
  validation_interrupted_ = validation_->interrupted();
  if (!validation_interrupted_) validated_once_ = true;
  run_.begin_pass(batches_, batch_idx_ + 1);
  clock_ = validated_ = std::chrono::steady_clock::now();
}

}  // namespace levin
