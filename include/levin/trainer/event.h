#pragma once
#include <cstdint>
#include <functional>
#include <memory>

namespace levin {

class Callback;
class Trainer;

/// Moments of a run for Trainer::on: those of the hooks of these names, and `step`, the end of an optimizer step.
enum class Event {
  fit_start,
  fit_end,
  train_start,
  train_end,
  train_epoch_start,
  train_epoch_end,  ///< the epoch's values are in the trainer's report
  train_batch_start,
  train_batch_end,
  step,  ///< the values that the step logged are in the trainer's report; on a device those of the step before
  validation_start,
  validation_end,  ///< not of a sanity check; the validation's values are in the trainer's report
  test_start,
  test_end,
  predict_start,
  predict_end,
};

/// Which of an event's occurrences count.
struct EventOptions {
  /// Every N-th. Steps and epochs are counted from the training's beginning, others from the run's, or, where a training resumes, from the
  /// training's.
  int64_t every = 1;
};

/// The callback that Trainer::on adds. UsageError unless `every` is positive.
std::shared_ptr<Callback> make_event_callback(Event event, const EventOptions& options, std::function<void(Trainer&)> function);

}  // namespace levin
