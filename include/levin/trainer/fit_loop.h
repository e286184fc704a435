#pragma once
#include <chrono>
#include <optional>

#include "levin/trainer/evaluation_loop.h"
#include "levin/trainer/log_collection.h"
#include "levin/trainer/manual_optimization.h"
#include "levin/trainer/trainer.h"

namespace levin {

namespace detail {
class RunState;
}
class StateReader;

/// The training: epochs of batches, optimizer steps, validation when it is due.
class FitLoop {
 public:
  FitLoop(Trainer& trainer, Module& module, DataModule& data);
  ~FitLoop();
  void run(const LoadFrom& from = {});

 private:
  void load_validation();
  void sanity_check();
  void set_lengths();
  void check_optimizers() const;
  void run_epochs();
  void run_epoch();
  StateDict state() const;
  void restore(StateReader& saved);
  void begin(StateReader* saved, bool of_this_run);
  void end();
  std::string stop_options() const;
  std::string why_complete(const StateDict& state);
  void keep_complete(const StateDict& state, const std::string& why);
  void at_boundary();
  void note_complete_step();
  void train_batch(Batch& batch);
  Tensor training_step(const Batch& batch);
  Tensor optimize_automatically(const Batch& batch);
  Tensor optimize_manually(const Batch& batch);
  void optimizer_step();
  std::string_view optimizer_name() const noexcept;
  void log_if_due();
  void validate_if_due();
  void validate();
  void end_batch();
  void ask_for_late_agreement();
  void step_schedulers(Interval moment);
  void watch_the_time();
  bool step_is_due() const noexcept;
  bool validation_is_due() const noexcept;
  bool last_batch() const noexcept;
  bool enough() const noexcept;
  bool may_stop() const noexcept;
  void stop_clock();

  Trainer& trainer_;
  Module& module_;
  DataModule& data_;
  const TrainerConfig& config_;
  Session& session_;
  const HookList& hooks_;
  std::optional<ManualOptimization> manual_;
  std::unique_ptr<Loader> loader_;
  std::optional<EvaluationLoop> validation_;
  LogCollection logs_{/*training=*/true};
  std::unique_ptr<detail::RunState> run_state_;
  int64_t batches_ = 0;      // of an epoch at most, after limit_train_batches
  int64_t val_every_ = 0;    // batches; 0: at the end of an epoch
  int64_t batch_idx_ = 0;    // of the epoch
  int64_t all_batches_ = 0;  // of all epochs
  int64_t micro_batch_ = 0;  // since the last step
  bool validation_given_up_ = false;
  bool validated_once_ = false;
  StateDict complete_;     // state() after the last step, where it may be saved after an exception; empty during an update
  bool in_epoch_ = false;  // between an epoch's first batch and its end
  std::chrono::steady_clock::time_point step_began_;
  std::chrono::steady_clock::time_point clock_, started_, validated_;
};

}  // namespace levin
