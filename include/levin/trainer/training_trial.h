#pragma once
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>

namespace levin {

class Module;
class Trainer;

/// Steps of a trial.
struct TrialOptions {
  int64_t steps = 1;
  /// Samples of a micro-batch on each rank; null: as the training has them.
  std::optional<int64_t> batch_size = {};
  /// Of a module with one optimizer: the learning rate of a step, from 0 on, in place of the optimizer's own; parameters whose rule names
  /// another one keep that. Null: the optimizers' own. No schedule applies.
  std::function<double(int64_t step)> learning_rate = {};
  /// Called after each step, or, with manual optimization, after each batch that took one, with the mean loss over all ranks; false ends
  /// the trial. The same on all ranks. NaN if training_step returned no loss.
  std::function<bool(int64_t step, double loss)> after_step = {};
  /// A batch size is tried. A rank that runs out of memory, or whose batch has too few samples for batch normalization, ends the trial on
  /// all ranks, if they exchange nothing inside of forward and backward passes; otherwise (sharded parameters or gradients, sync_batchnorm,
  /// manual optimization), or if it is false, the exception ends the run.
  bool batch_may_not_fit = false;
};

/// How a batch of the tried size ended a trial.
enum class BatchFit { fits, too_few_samples, out_of_memory };

struct TrialResult {
  int64_t steps = 0;  ///< complete
  BatchFit fit = BatchFit::fits;
};

/// Training steps that leave no trace, for a callback's on_fit_start. They are those of the training: its data, epoch by epoch, its
/// accumulation, precision, strategy and clipping, and the module's hooks of a step. Callbacks, loggers and checkpoints see nothing of
/// them. restore() brings back parameters, buffers, optimizers, loss scale, random generators, progress, frozen parameters, and what the
/// data module and the module keep in checkpoints. Other members that a module's steps change stay changed. All calls are collective.
class TrainingTrial {
 public:
  /// Copies the state of the training, in memory. UsageError for a custom optimizer that checkpoints cannot keep.
  TrainingTrial(Trainer& trainer, Module& module);
  ~TrainingTrial();
  TrainingTrial(const TrainingTrial&) = delete;
  TrainingTrial& operator=(const TrainingTrial&) = delete;

  /// Continues from the steps of earlier calls. Fewer steps where a signal asks for the run's end, and where a gradient is not finite that
  /// would end a training (nonfinite_gradients: error). ConfigError for data without a batch.
  TrialResult run(const TrialOptions& options);
  void restore();

 private:
  struct Snapshot;
  class Attempt;
  Trainer& trainer_;
  Module& module_;
  std::unique_ptr<Snapshot> snapshot_;
};

/// Whether an exception, or the one nested in it, says that memory, of the host or of a device, could not be allocated.
bool is_out_of_memory(const std::exception& error) noexcept;
/// Whether an exception is batch normalization's, which takes no statistics of one value per channel: of one sample without further
/// dimensions.
bool is_too_few_samples(const std::exception& error) noexcept;

}  // namespace levin
