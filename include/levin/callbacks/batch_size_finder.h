#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "levin/core/config.h"
#include "levin/trainer/callback.h"

namespace levin {

enum class BatchFit;
struct DataLoaderSpec;
class TrainingTrial;

/// How the sizes of a search follow each other.
enum class BatchSizeMode { power, binsearch };
LEVIN_ENUM(BatchSizeMode, (power, "power"), (binsearch, "binsearch"))

/// Lightning's arguments of BatchSizeFinder, and `memory`.
struct BatchSizeFinderConfig {
  BatchSizeMode mode = BatchSizeMode::power;
  int64_t steps_per_trial = 3;
  int64_t init_val = 2;
  int64_t max_trials = 25;
  double margin = 0.05;
  int64_t max_val = 8192;
  std::optional<Bytes> memory = {};
};
LEVIN_CONFIG(BatchSizeFinderConfig, (mode, "double the size until it does not fit; binsearch: then search between the last two"),
             (steps_per_trial, "steps with each size", at_least(1)), (init_val, "first size, in samples of a rank", at_least(1)),
             (max_trials, "most sizes to try", at_least(1)),
             (margin, "part of a size found by binsearch to leave free", at_least(0), less_than(1)),
             (max_val, "largest size to try", at_least(1)),
             (memory, "what the tensors of a rank's steps may take on a CPU; null: its part of what its host has free", at_least(Bytes{1})))
LEVIN_CHOICE(BatchSizeFinderConfig, "batch_size_finder")

/// Before a training, searches the largest micro-batch whose steps fit into memory, in place of the data module's batch_size, on any number
/// of ranks: all have the same size. Steps are tried as TrainingTrial says, and leave no trace. On CPUs, where the kernel kills a process
/// that takes too much, the memory of a size is predicted from the smaller ones, with 10 % more, and a size that would not fit is not
/// tried; the first trials have two or four samples, for batch normalization may refuse one. On a device, and where an allocation fails on
/// any rank, a size that runs out of memory is too large. A size that batch normalization refuses is too small. Under a strategy with
/// sharded parameters or gradients, with sync_batchnorm and with manual optimization, where ranks communicate inside of a step, such a
/// failure ends the run. No size is larger than the training data and limit_train_batches can fill. Writes batch_size_finder.csv to the
/// run's folder. A training that resumes takes the size from its checkpoint; on other ranks, or with another accumulate_grad_batches, that
/// which keeps the samples of a step. Does nothing in a fast_dev_run. ConfigError for data with a global_batch_size, for combined loaders,
/// where no size works, and where the samples of a resumed training's steps cannot be divided by its ranks.
class BatchSizeFinder : public Callback {
 public:
  using Config = BatchSizeFinderConfig;
  explicit BatchSizeFinder(const BatchSizeFinderConfig& config = {});

  void setup(Stage stage) override;
  void on_fit_start() override;
  StateDict state_dict() const override;
  void load_state_dict(const StateDict& state) override;

  /// Samples of a rank's micro-batch; null before the search.
  std::optional<int64_t> optimal_batch_size() const noexcept { return batch_size_; }

  /// A size of this attempt's search.
  struct Trial {
    int64_t batch_size = 0;
    std::string result = {};  ///< "ok", "out of memory", "too few samples", or "not tried": it would not fit
    int64_t bytes = 0;        ///< peak of this rank's tensors on the CPU; of a size that was not tried, the prediction
    double seconds_per_step = 0;
  };
  const std::vector<Trial>& trials() const noexcept { return trials_; }

 private:
  void check_data(const DataLoaderSpec& spec) const;
  void look_at(const DataLoaderSpec& spec);
  int64_t largest_of(const DataLoaderSpec& spec) const;
  int64_t parts_of_a_step() const;
  void keep_samples_of_a_step();
  void search();
  [[noreturn]] void refuse(int64_t fails, int64_t refused) const;
  BatchFit fit_of(TrainingTrial& trial, int64_t batch_size);
  std::optional<int64_t> predicted_bytes(int64_t batch_size) const;
  bool may_try(int64_t batch_size);
  BatchFit try_size(TrainingTrial& trial, int64_t batch_size);
  void write() const;

  BatchSizeFinderConfig config_;
  std::vector<Trial> trials_;
  std::vector<std::pair<int64_t, int64_t>> measured_;  // sizes, and the peak of their tensors
  int64_t largest_ = 0;                                // size of a micro-batch that the data can fill, max_val at most
  int64_t bytes_ahead_ = 0;                            // of a sample, times the batches that other threads hold
  std::optional<int64_t> batch_size_;
  int64_t parts_ = 0;  // equal parts of a step's samples, over ranks and micro-batches, with this size; 0: unknown
};

}  // namespace levin
