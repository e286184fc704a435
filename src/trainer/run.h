#pragma once
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "levin/session/session.h"
#include "levin/trainer/callback.h"
#include "levin/trainer/data_module.h"
#include "levin/trainer/hooks.h"
#include "levin/trainer/run_report.h"
#include "levin/trainer/trainer_config.h"
#include "logger_connector.h"

namespace levin {

class Checkpoints;
class LogCollection;
class Module;
class ProfilerList;

/// One fit, validate, test or predict under way: what its loops share. A Trainer makes one for each call, and gives it what lives longer.
class Run {
 public:
  /// The Trainer's, which outlive the run.
  struct Environment {
    const TrainerConfig& config;
    Session& session;
    Checkpoints& checkpoints;
    LoggerConnector& logging;
    RunReport& report;
    ProfilerList* profilers;  // null: none
  };
  static constexpr int64_t unlimited = std::numeric_limits<int64_t>::max();

  Run(const Environment& environment, Module& module, DataModule& data)
      : environment_(environment), module_(module), data_(data), accumulate_(environment.config.accumulate_grad_batches) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  const TrainerConfig& config() const noexcept { return environment_.config; }
  Session& session() noexcept { return environment_.session; }
  Checkpoints& checkpoints() noexcept { return environment_.checkpoints; }
  LoggerConnector& logging() noexcept { return environment_.logging; }
  RunReport& report() noexcept { return environment_.report; }
  ProfilerList* profilers() noexcept { return environment_.profilers; }
  Module& module() noexcept { return module_; }
  DataModule& data() noexcept { return data_; }

  /// The callbacks of this run, in the order of their calls; the module's hooks follow.
  void set_callbacks(std::vector<std::shared_ptr<Callback>> callbacks);
  const std::vector<std::shared_ptr<Callback>>& callbacks() const noexcept { return callbacks_; }
  const HookList& hooks() const noexcept { return hooks_; }

  /// Micro-batches of a step in the training's current epoch, and in any.
  int64_t accumulate_grad_batches() const noexcept { return accumulate_; }
  void set_accumulate_grad_batches(int64_t batches) noexcept { accumulate_ = batches; }
  int64_t accumulate_grad_batches_of(int64_t epoch) const;
  /// Whether a callback decides it.
  bool schedules_accumulation() const;

  /// Samples of a micro-batch of the training, in place of what the data module says; null: as it says.
  std::optional<int64_t> train_batch_size() const noexcept { return train_batch_size_; }
  void set_train_batch_size(std::optional<int64_t> samples) noexcept { train_batch_size_ = samples; }
  /// Whether predict returns its predictions.
  bool keeps_predictions() const noexcept { return keeps_predictions_; }
  void drop_predictions() noexcept { keeps_predictions_ = false; }

  /// This rank's batches of a dataset or stream. ConfigError without data.
  std::unique_ptr<Loader> make_loader(const DataLoaderSpec& spec, bool training);
  /// How many batches of an epoch a limit allows. ConfigError, with the option's name, for a part of an unknown length.
  static int64_t allowed_batches(const Limit& limit, const Loader& loader, const char* option);
  /// A batch on its way to the device, through the hooks of the data module and the module.
  void transfer(Batch& batch);

  BatchProgress& batch_progress() noexcept { return batch_progress_; }
  /// Begins a pass of `batches` batches, `done` of them already made.
  void begin_pass(int64_t batches, int64_t done = 0) noexcept { batch_progress_ = {done, batches == unlimited ? 0 : batches}; }
  /// Whether the training has validation data.
  bool validates() const noexcept { return validates_; }
  void set_validates(bool validates) noexcept { validates_ = validates; }

  /// The sink of the module's values; null: none.
  const LogCollection* logs() const noexcept { return logs_; }
  void set_logs(LogCollection* logs) noexcept { logs_ = logs; }
  /// on_train_epoch_end of all hooks; the epoch's values are logged before the callbacks that read metrics. Collective.
  void end_train_epoch(LogCollection& logs);

 private:
  Environment environment_;
  Module& module_;
  DataModule& data_;
  std::vector<std::shared_ptr<Callback>> callbacks_;
  HookList hooks_;
  int64_t accumulate_;
  BatchProgress batch_progress_;
  bool validates_ = false;
  LogCollection* logs_ = nullptr;
  std::optional<int64_t> train_batch_size_;
  bool keeps_predictions_ = true;
};

}  // namespace levin
