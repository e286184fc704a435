#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "levin/core/auto_count.h"
#include "levin/core/config.h"
#include "levin/core/monitor_mode.h"
#include "levin/optim/lr_schedules.h"
#include "levin/trainer/callback.h"
#include "levin/trainer/logger.h"

namespace levin {

struct CheckpointRequest;
struct SaveReport;

/// Lightning's arguments of ModelCheckpoint, and mtbf, in_background and how files are written. save_last is missing: the file
/// `last` beside the checkpoints always names the newest, which is kept whatever save_top_k says. ConfigError for a filename that cannot be
/// a checkpoint's name, whatever the values are.
struct ModelCheckpointConfig {
  std::filesystem::path dirpath = {};
  std::string filename = {};
  std::optional<std::string> monitor = {};
  bool verbose = false;
  int64_t save_top_k = 1;
  bool save_weights_only = false;
  MonitorMode mode = MonitorMode::min;
  bool auto_insert_metric_name = true;
  std::optional<AutoCount> every_n_train_steps = {};
  Seconds mtbf = {86400};
  std::optional<Seconds> train_time_interval = {};
  std::optional<int64_t> every_n_epochs = {};
  std::optional<bool> save_on_train_epoch_end = {};
  bool save_on_exception = false;
  bool in_background = true;
  Bytes alignment = {4096};
  std::filesystem::path staging_directory = {};
  int64_t nodes_per_file = 0;
  std::map<std::string, std::string> mpi_io_hints = {};

  void validate() const;
};
LEVIN_CONFIG(ModelCheckpointConfig, (dirpath, "folder of the checkpoints; empty: checkpoints in the run's"),
             (filename, "what a checkpoint's name has after step=…, as {epoch}-{val_loss:.3f}; with {step}, the whole name"),
             (monitor, "logged metric that says which are the best; null: the newest are"), (verbose, "say when one is committed"),
             (save_top_k, "how many of the best are kept, beside the two newest; -1: all; 0: none is made", at_least(-1)),
             (save_weights_only, "leave out what only a restart needs"), (mode, "which values of the metric are better"),
             (auto_insert_metric_name, "write {epoch} as epoch=3, not as 3"),
             (every_n_train_steps, "optimizer steps between two; auto: what mtbf and the measured cost of one make best", at_least(1)),
             (mtbf, "mean time between failures of what the job runs on", greater_than(Seconds{0})),
             (train_time_interval, "time between two, by rank 0's clock", greater_than(Seconds{0})),
             (every_n_epochs, "epochs between two; null: 1 where nothing else says when", at_least(1)),
             (save_on_train_epoch_end,
              "at the end of an epoch, else after each validation; null: so if there is one an epoch; so without validation"),
             (save_on_exception, "the last complete step, when the training ends with an exception of all ranks"),
             (in_background, "train on while a copy of the state is written"),
             (alignment, "tensors of this size and larger begin at multiples of it in the file: a file system's stripe",
              at_least(Bytes{4096})),
             (staging_directory, "folder on a disk of each host's own where the copy lies while it is written; empty: in memory"),
             (nodes_per_file, "nodes whose ranks write one file together, state.0.h5, state.1.h5, …; 0: all write one", at_least(0)),
             (mpi_io_hints, "for MPI-IO, which makes the files then: {striping_factor: 8}; MPI ignores what it does not know"))
LEVIN_CHOICE(ModelCheckpointConfig, "model_checkpoint")

/// Makes checkpoints during a training and at its end, and removes those that are no longer among the best. A checkpoint is made when
/// a step is complete, after its validation; its name has that step, and its score is the newest value. Nothing is made in a sanity check
/// or a fast_dev_run. ConfigError for a metric that is not logged (at the end of the first epoch with a validation at the latest), two of
/// these with one folder, or no folder at all.
class ModelCheckpoint : public Callback {
 public:
  using Config = ModelCheckpointConfig;
  explicit ModelCheckpoint(ModelCheckpointConfig config = {});

  void setup(Stage stage) override;
  void on_train_start() override;
  void on_train_batch_start(const Batch& batch, int64_t batch_idx) override;
  void on_train_batch_end(const Tensor& loss, const Batch& batch, int64_t batch_idx) override;
  void on_validation_end() override;
  void on_train_epoch_end() override;
  void on_train_end() override;
  bool monitors() const noexcept override { return true; }
  std::vector<std::string> required_metrics() const override;

  const std::filesystem::path& dirpath() const noexcept { return folder_; }
  const ModelCheckpointConfig& config() const noexcept { return config_; }
  /// The newest checkpoint that this run committed; empty before the first.
  const std::filesystem::path& last_model_path() const noexcept { return last_; }

  /// "{epoch}-{val_loss:.2f}" as "epoch=3-val_loss=0.12". ConfigError for a value that was not logged, or a format that does not fit.
  static std::string format_name(const std::string& filename, const NamedValues& values, int64_t epoch, int64_t step, bool insert_names);

  /// The name of a checkpoint's directory: step=000400, extended or replaced by the config's filename.
  static std::string full_name(const ModelCheckpointConfig& config, const NamedValues& values, int64_t epoch, int64_t step);

  /// The time between two checkpoints of this cost with which the least work is lost (J. T. Daly, "A higher order estimate of the optimum
  /// checkpoint interval for restart dumps", 2006).
  static Seconds best_interval(Seconds cost, Seconds mtbf);

 private:
  using Clock = std::chrono::steady_clock;
  bool at_epoch_end() const;
  bool by_steps_or_time() const noexcept { return config_.every_n_train_steps || config_.train_time_interval; }
  void at_an_epochs_validation(Interval newest);
  void check_names();
  std::string name_of(const NamedValues& values, int64_t step) const;
  bool epoch_was_cut_short() const;
  bool saves_the_end() const;
  /// The newest value of each metric; one logged by step and by epoch is that of `newest` under its plain name.
  NamedValues values(Interval newest) const;
  void request(Interval newest);
  /// The name and the score of a requested checkpoint, when the state of a step is saved.
  void describe(CheckpointRequest& saved, int64_t step);
  void committed(const SaveReport& report);

  ModelCheckpointConfig config_;
  std::filesystem::path folder_;
  bool training_ = false, validated_ = false, names_are_known_ = false;
  int64_t requested_step_ = -1;
  bool pending_ = false;  // requested, not yet saved: with newest_ and epoch_
  Interval newest_ = Interval::step;
  int64_t epoch_ = 0;
  Clock::time_point requested_at_;
  std::optional<Seconds> interval_;  // where time decides
  std::filesystem::path last_;
};

}  // namespace levin
