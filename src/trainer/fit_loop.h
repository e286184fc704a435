#pragma once
#include <chrono>
#include <memory>
#include <optional>

#include "data_wait.h"
#include "evaluation_loop.h"
#include "levin/session/load_from.h"
#include "levin/trainer/intervals.h"
#include "levin/trainer/log_collection.h"
#include "run.h"
#include "run_state.h"
#include "straggler_report.h"
#include "train_step.h"

namespace levin {

class StateReader;

/// The training: epochs of batches, optimizer steps, validation when it is due.
class FitLoop {
 public:
  explicit FitLoop(Run& run);
  ~FitLoop();
  FitLoop(const FitLoop&) = delete;
  FitLoop& operator=(const FitLoop&) = delete;
  /// Collective. As Trainer::fit.
  void run(const LoadFrom& from = {});

 private:
  void load_training_data();
  void prepare_epoch(int64_t epoch);
  int64_t total_steps();
  void restore_reload(const StateDict& state);
  void set_lengths();
  Batch* next_batch();
  void announce_data();
  int64_t batches_of_step(int64_t first) const noexcept;
  bool last_batch() const noexcept;
  void load_validation();
  void sanity_check();
  void check_optimizers() const;
  void check_schedules() const;
  void report_unlogged_metrics() const;
  void run_epochs();
  void run_epoch();
  StateDict state();
  void restore(StateReader& saved);
  void begin(StateReader* saved, bool of_this_run);
  void end();
  std::string stop_options() const;
  std::string why_complete(const StateDict& state);
  void keep_complete(const StateDict& state, const std::string& why);
  void at_boundary();
  void note_complete_step();
  void train_batch(Batch& batch);
  void log_if_due();
  void log_started();
  void log_step(int64_t step, NamedValues values);
  void settle();
  void count_skipped();
  void validate_if_due();
  void validate();
  void end_batch();
  void step_schedulers(Interval interval);
  void watch_the_time();
  bool validation_is_due() const noexcept;
  bool enough() const noexcept;
  bool may_stop() const noexcept;
  void stop_clock();

  Run& run_;
  Module& module_;
  const TrainerConfig& config_;
  Session& session_;
  Checkpoints& checkpoints_;
  const HookList& hooks_;
  LogCollection logs_{/*training=*/true};
  detail::RunState run_state_;
  std::unique_ptr<TrainStep> step_;
  DataLoaderSpec train_data_;
  std::unique_ptr<Loader> loader_;
  DataWait data_wait_;
  std::optional<EvaluationLoop> validation_;
  NamedValues sanity_values_;  // of the sanity check
  /// The epoch in which the loaders were made, if not for the first, and the steps before it.
  struct Reload {
    int64_t epoch = 0, step = 0;
  };
  Reload reloaded_;
  int64_t batches_ = 0;      // of an epoch at most, after limit_train_batches
  int64_t val_every_ = 0;    // batches; 0: at the end of an epoch
  int64_t batch_idx_ = 0;    // of the epoch
  int64_t all_batches_ = 0;  // of all epochs
  bool validation_interrupted_ = false;
  bool validated_once_ = false;
  /// Values of a step that are on their way from the device, and are logged in the step after.
  struct StartedLog {
    int64_t step;
    std::shared_ptr<const LogCollection::StepValues> values;
  };
  std::optional<StartedLog> started_log_;
  int64_t counted_skips_ = 0;  // of the scaling's, in the report
  StateDict complete_;         // state() after the last step, where it may be saved after an exception
  StepTimes step_times_;
  StragglerReport straggler_report_;
  bool in_epoch_ = false;  // between an epoch's first batch and its end
  std::chrono::steady_clock::time_point clock_, started_, validated_;
};

}  // namespace levin
