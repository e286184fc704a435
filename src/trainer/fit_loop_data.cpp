// The training's batches: its loaders, their lengths, and the wait for them.
#include <algorithm>
#include <map>

#include "../session/part_timer.h"
#include "fit_loop.h"
#include "levin/core/error.h"
#include "levin/trainer/module.h"
#include "run_guards.h"

namespace levin {

void FitLoop::load_training_data() {
  auto& data = run_.data();
  train_data_ = call_hook("train_dataloader", data, [&] { return data.train_dataloader(); });
}

// How many micro-batches make a step may change from epoch to epoch.
void FitLoop::prepare_epoch(int64_t epoch) {
  const int64_t accumulate = run_.accumulate_grad_batches_of(epoch);
  const bool first = !loader_;
  const int64_t every = config_.reload_dataloaders_every_n_epochs;
  const bool reload = !first && every > 0 && epoch % every == 0 && !enough();
  if (!first && !reload && accumulate == run_.accumulate_grad_batches()) return;
  run_.set_accumulate_grad_batches(accumulate);
  if (reload) {
    load_training_data();
    validation_.reset();
    load_validation();
    run_.set_validates(validation_.has_value());
  }
  loader_ = run_.make_loader(train_data_, /*training=*/true);
  batches_ = Run::allowed_batches(config_.limit_train_batches, *loader_, "limit_train_batches");
  session_.scaling().expect_weight(static_cast<double>(loader_->step_samples()) / session_.mesh().data().size());
  if (!first) set_lengths();
  if (!reload) return;
  reloaded_ = {session_.progress().epoch, session_.progress().step};
  session_.progress().total_steps = total_steps();
}

// When the loaders of a checkpoint's epoch were loaded, in a training that never ended.
void FitLoop::restore_reload(const StateDict& state) {
  if (state.contains("reloaded.epoch")) reloaded_ = {state.get<int64_t>("reloaded.epoch"), state.get<int64_t>("reloaded.step")};
  const int64_t epoch = state.get<int64_t>("epoch"), every = config_.reload_dataloaders_every_n_epochs;
  if (every > 0 && epoch > 0 && epoch % every == 0 && !state.get<bool>("in_epoch")) reloaded_ = {epoch, state.get<int64_t>("step")};
}

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
}

// Of the whole training, if all epochs from the last reload on are as long as this one; 0: unknown.
int64_t FitLoop::total_steps() {
  int64_t steps = 0;
  const auto& [first_epoch, first_step] = reloaded_;
  if (*config_.max_epochs > 0 && batches_ != Run::unlimited) {
    const auto steps_with = [](int64_t batches, int64_t accumulate) { return (batches + accumulate - 1) / accumulate; };
    const int64_t accumulate = run_.accumulate_grad_batches();
    if (!run_.schedules_accumulation()) {
      steps = std::max<int64_t>(0, *config_.max_epochs - first_epoch) * steps_with(batches_, accumulate);
    } else {
      std::map<int64_t, int64_t> steps_of;  // an epoch, by its accumulation
      for (int64_t epoch = first_epoch; epoch < *config_.max_epochs; epoch++) {
        const int64_t scheduled = run_.accumulate_grad_batches_of(epoch);
        const auto [known, is_new] = steps_of.emplace(scheduled, 0);
        if (is_new) {
          run_.set_accumulate_grad_batches(scheduled);
          const auto loader = run_.make_loader(train_data_, /*training=*/true);
          known->second = steps_with(Run::allowed_batches(config_.limit_train_batches, *loader, "limit_train_batches"), scheduled);
        }
        steps += known->second;
      }
      run_.set_accumulate_grad_batches(accumulate);
    }
    steps += first_step;
  }
  if (config_.max_steps >= 0) steps = steps > 0 ? std::min(steps, config_.max_steps) : config_.max_steps;
  return steps;
}

// Null: the epoch has no more, or the ranks must exit first.
Batch* FitLoop::next_batch() {
  return call_hook("reading the next training batch", *loader_, [&] {
    const detail::PartTimer timer(detail::TimePart::data);
    const bool between_steps = step_->micro_batch() == 0;
    return between_steps && !data_wait_.wait(*loader_, batches_of_step(batch_idx_)) ? nullptr : loader_->next();
  });
}

int64_t FitLoop::batches_of_step(int64_t first) const noexcept { return std::min(run_.accumulate_grad_batches(), batches_ - first); }

void FitLoop::announce_data() {
  if (last_batch())
    data_wait_.announce_epoch(*loader_);
  else
    data_wait_.announce(*loader_, batches_of_step(batch_idx_ + 1));
}

bool FitLoop::last_batch() const noexcept { return batch_idx_ + 1 == batches_ || loader_->at_end(); }

}  // namespace levin
