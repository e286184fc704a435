#pragma once
#include <chrono>

#include "levin/trainer/evaluation_loop.h"
#include "levin/trainer/trainer.h"

namespace levin {

/// The training: epochs of batches, optimizer steps, validation when it is due.
class FitLoop {
 public:
  FitLoop(Trainer& trainer, Module& module, DataModule& data);
  void run();

 private:
  void sanity_check();
  void run_epoch();
  void train_batch(Batch& batch);
  void optimizer_step();
  void log_if_due();
  void validate_if_due();
  void validate();
  bool step_is_due() const noexcept;
  bool enough() const noexcept;
  void stop_clock();

  Trainer& trainer_;
  Module& module_;
  const TrainerConfig& config_;
  Session& session_;
  const HookList& hooks_;
  std::unique_ptr<DataLoader> loader_;
  EvaluationLoop validation_;
  LogCollection logs_{/*training=*/true};
  int64_t batches_ = 0;      // of an epoch, after limit_train_batches
  int64_t val_every_ = 0;    // batches
  int64_t batch_idx_ = 0;    // of the epoch
  int64_t micro_batch_ = 0;  // of the accumulation
  int64_t max_epochs_ = -1;
  std::chrono::steady_clock::time_point clock_;
};

}  // namespace levin
