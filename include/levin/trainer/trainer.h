#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "levin/session/checkpoints.h"
#include "levin/session/load_from.h"
#include "levin/session/session.h"
#include "levin/trainer/callback.h"
#include "levin/trainer/data_module.h"
#include "levin/trainer/event.h"
#include "levin/trainer/logger.h"
#include "levin/trainer/prediction.h"
#include "levin/trainer/run_report.h"
#include "levin/trainer/trainer_config.h"

namespace levin {

class Loader;
class LoggerConnector;
class ProfilerList;
class Run;

/// Lightning's Trainer: loops over epochs and batches, made of a Session and nothing else. All ranks make the same calls.
///
///     MpiRuntime mpi;
///     Trainer trainer({.max_epochs = 5}, mpi);
///     auto model = trainer.build<Classifier>(ClassifierConfig{});
///     trainer.fit(*model, data);
class Trainer {
 public:
  /// `model_parallel`: as Session's.
  explicit Trainer(const TrainerConfig& config, MpiRuntime& runtime, uint64_t seed = 0, const AcceleratorRegistry& accelerators = {},
                   const ModelParallel& model_parallel = {});
  ~Trainer();

  void add_callback(std::shared_ptr<Callback> callback) { callbacks_.push_back(std::move(callback)); }
  /// Calls a function of the trainer, or of nothing, at an event, on every rank:
  ///
  ///     trainer.on(Event::step, {.every = 100}, [&](Trainer& trainer) { … });
  template <class Function>
  void on(Event event, const EventOptions& options, Function function) {
    if constexpr (std::is_invocable_v<Function&, Trainer&>)
      add_callback(make_event_callback(event, options, std::move(function)));
    else
      add_callback(make_event_callback(event, options, [function = std::move(function)](Trainer&) mutable { function(); }));
  }
  template <class Function>
  void on(Event event, Function function) {
    on(event, EventOptions{}, std::move(function));
  }
  /// Called on rank 0 alone. None is used in a fast_dev_run.
  void add_logger(std::shared_ptr<Logger> logger) { loggers_.push_back(std::move(logger)); }
  /// Beside those that the configuration names. On every rank, before the runs that it measures.
  void add_profiler(std::shared_ptr<Profiler> profiler);
  /// The loggers that the configuration names, on rank 0. Their files go into `folder`, unless configured otherwise. IoError.
  void add_loggers(const std::filesystem::path& folder);
  /// How many callbacks of this class there are.
  template <class T>
  int64_t count_callbacks() const {
    return std::count_if(callbacks_.begin(), callbacks_.end(), [](const auto& callback) { return dynamic_cast<const T*>(callback.get()); });
  }

  /// In place of what the module's configure_optimizers gives; a schedule alone replaces its schedule. UsageError at fit when the module
  /// configures several optimizers.
  void replace_optimizer(const std::optional<OptimizerConfig>& optimizer, const std::optional<LrSchedulerConfig>& lr_scheduler);
  /// The run has ended: loggers write what they hold.
  void finalize_loggers();

  /// Makes a model with the seed that all ranks share.
  template <class Model, class... Args>
  std::shared_ptr<Model> build(Args&&... args) {
    return session_.build<Model>(std::forward<Args>(args)...);
  }

  /// Trains, validating on the way; tests at the end with test_after_fit. ConfigError where the data module has no training data. An
  /// exception of one rank ends the waits of all others with CommunicatorAborted. From a checkpoint it resumes as if it had never ended:
  /// bit for bit on as many ranks as before; on others with the same samples in the same order. A checkpoint whose training has reached
  /// its limits, or was stopped by a callback with the same options, is complete: the model is loaded, and nothing trained. DataError for
  /// a checkpoint that does not fit, ConfigError for another seed or global batch.
  void fit(Module& module, DataModule& data, const LoadFrom& from = {});
  /// One pass over the data of the stage; what the module logged, over all ranks. ConfigError if the data module has no data for the stage.
  NamedValues validate(Module& module, DataModule& data, const LoadFrom& from = {});
  NamedValues test(Module& module, DataModule& data, const LoadFrom& from = {});
  /// This rank's predictions; padding batches leave none.
  std::vector<Prediction> predict(Module& module, DataModule& data, const LoadFrom& from = {});

  /// The configuration as TrainerConfig::resolved gives it.
  const TrainerConfig& config() const noexcept { return config_; }
  Session& session() noexcept { return session_; }
  /// The callbacks of the current run, including the module's; between runs the Trainer's.
  const std::vector<std::shared_ptr<Callback>>& callbacks() const noexcept;
  const std::vector<std::shared_ptr<Logger>>& loggers() const noexcept { return loggers_; }
  Checkpoints& checkpoints() noexcept { return checkpoints_; }
  /// The module of the current run (Lightning's name); null between runs.
  DataModule* datamodule() const noexcept;
  /// For a hook that passes over the training data: this rank's batches, as the current epoch's steps have them; set_epoch comes first.
  /// Calls train_dataloader. On all ranks. UsageError between runs.
  std::unique_ptr<Loader> training_loader() const;
  /// For a hook before the training's first batch: samples of a micro-batch on each rank, in place of the data module's batch_size or
  /// global_batch_size, for the rest of this run. The same on all ranks. UsageError between runs.
  void set_train_batch_size(int64_t samples);
  /// Null: as the data module says.
  std::optional<int64_t> train_batch_size() const noexcept;
  /// For a hook that takes the predictions itself: predict returns none, so that they need no memory. UsageError between runs.
  void drop_predictions();
  /// Default folder of callbacks' files (Lightning's name); empty: none.
  const std::filesystem::path& default_root_dir() const noexcept { return default_root_dir_; }
  /// Resolved against the working directory of this call.
  void set_default_root_dir(const std::filesystem::path& folder) {
    default_root_dir_ = folder.empty() ? folder : std::filesystem::absolute(folder);
  }
  const RunReport& report() const noexcept { return report_; }
  RunReport& report() noexcept { return report_; }

  int64_t global_step() const noexcept { return session_.progress().step; }
  int64_t current_epoch() const noexcept { return session_.progress().epoch; }
  BatchProgress batch_progress() const noexcept;
  /// Whether the training has validation data; known from on_train_start on.
  bool validates() const noexcept;
  /// This rank's newest values of what was logged with prog_bar.
  NamedValues progress_bar_values() const;

  /// Sends values to the loggers and keeps them for the report. `step`: the one they belong to, by default the last one that was made.
  void log_metrics(const NamedValues& values, std::optional<int64_t> step = {});
  /// Shows the run's options, as YAML, to the loggers.
  void log_hyperparams(const std::string& yaml);

 private:
  void run(Stage stage, Module& module, DataModule& data, const std::function<void(Run&)>& body);
  void profile_run(ProfilerList* profilers, Stage stage, Module& module, DataModule& data, const std::function<void(Run&)>& body);
  void attach_callbacks(Run& run);
  void prepare_model(Stage stage, Module& module);
  std::vector<OptimizerSpec> optimizers_of(Module& module) const;
  void load_weights(const LoadFrom& from);
  NamedValues evaluate(Stage stage, Module& module, DataModule& data, const LoadFrom& from = {});

  TrainerConfig config_;
  std::unique_ptr<ProfilerList> profilers_;  // outlives the session, whose communication threads know it
  Session session_;
  std::vector<std::shared_ptr<Callback>> callbacks_;
  std::vector<std::shared_ptr<Logger>> loggers_;
  std::optional<OptimizerConfig> optimizer_;
  std::optional<LrSchedulerConfig> lr_scheduler_;
  bool trains_ = false;  // whether what the strategy holds has its optimizers
  RunReport report_;
  std::filesystem::path default_root_dir_;
  Checkpoints checkpoints_{session_};
  std::unique_ptr<LoggerConnector> logging_;
  Run* run_ = nullptr;  // under way
};

}  // namespace levin
