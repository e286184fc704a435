#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/session/session_config.h"
#include "levin/trainer/component_choices.h"
#include "levin/trainer/intervals.h"

namespace levin {

/// Whether operations without a deterministic way are refused, only warned of, or allowed (Lightning's values).
enum class Deterministic { no, yes, warn };
LEVIN_ENUM(Deterministic, (no, "false"), (yes, "true"), (warn, "warn"))

/// How exactly matrix products of fp32 tensors are computed, by the values of torch.set_float32_matmul_precision.
enum class MatmulPrecision {
  highest,  ///< in fp32
  high,     ///< in TF32, or as sums of bf16 products, where the hardware has them
  medium    ///< in bf16 where the hardware has it
};
LEVIN_ENUM(MatmulPrecision, (highest, "highest"), (high, "high"), (medium, "medium"))

/// The options of a Trainer. Names and meanings are Lightning's where it has them.
struct TrainerConfig {
  SessionConfig session = {};
  AutoCount devices = {};
  AutoCount num_nodes = {};
  std::optional<int64_t> max_epochs = {};
  std::optional<int64_t> min_epochs = {};
  int64_t max_steps = -1;
  std::optional<int64_t> min_steps = {};
  std::optional<Seconds> max_time = {};
  Limit limit_train_batches = {};
  Limit limit_val_batches = {};
  Limit limit_test_batches = {};
  Limit limit_predict_batches = {};
  Limit overfit_batches = Limit::fraction(0);
  FastDevRun fast_dev_run = {};
  int64_t accumulate_grad_batches = 1;
  CheckInterval val_check_interval = {};
  std::optional<int64_t> check_val_every_n_epoch = 1;
  std::optional<int64_t> num_sanity_val_steps = {};
  std::optional<int64_t> log_every_n_steps = {};
  std::optional<bool> enable_progress_bar = {};
  std::optional<bool> enable_model_summary = {};
  std::optional<bool> enable_checkpointing = {};
  CallbackChoices callbacks = {};
  LoggerChoices logger = {};
  ProfilerChoices profiler = {};
  Deterministic deterministic = Deterministic::no;
  std::optional<bool> benchmark = {};
  std::optional<MatmulPrecision> matmul_precision = {};
  bool detect_anomaly = false;
  bool inference_mode = false;
  bool use_distributed_sampler = true;
  int64_t reload_dataloaders_every_n_epochs = 0;
  bool enable_autolog_hparams = true;
  bool barebones = false;
  bool test_after_fit = false;

  void validate() const;
  /// With fast_dev_run, overfit_batches and barebones worked in, and a value in every option that they decide. ConfigError where options
  /// contradict each other.
  TrainerConfig resolved() const;
};
LEVIN_CONFIG(TrainerConfig, (session, "", flattened), (devices, "expected number of ranks; auto: as many as were started", at_least(1)),
             (num_nodes, "expected number of hosts; auto: any", at_least(1)),
             (max_epochs, "epochs to train; -1: no limit; null: 1000, or no limit if max_steps or max_time is set", at_least(-1)),
             (min_epochs, "epochs to complete before a stop takes effect; null: 1 with min_steps, else 0", at_least(0)),
             (max_steps, "optimizer steps to train; -1: no limit", at_least(-1)),
             (min_steps, "steps to complete before a stop takes effect", at_least(0)),
             (max_time, "stop after this training time", greater_than(Seconds{0})),
             (limit_train_batches, "batches of an epoch to train with"), (limit_val_batches, "batches to validate with"),
             (limit_test_batches, "batches to test with"), (limit_predict_batches, "batches to predict"),
             (overfit_batches, "fraction or number of batches to train and validate on, the same in every epoch and in order; 0.0: off"),
             (fast_dev_run, "smoke test: run N batches of each loop and log nothing"),
             (accumulate_grad_batches, "batches whose gradients make one optimizer step", at_least(1)),
             (val_check_interval, "batches, part of an epoch, or time between validations"),
             (check_val_every_n_epoch, "epochs between validations; null: val_check_interval counts on across epochs", at_least(1)),
             (num_sanity_val_steps, "validation batches before training; -1: all, 0: none; null: 2", at_least(-1)),
             (log_every_n_steps, "steps between rows of the loggers; null: 50", at_least(1)),
             (enable_progress_bar, "a bar on a terminal, else a line every few seconds; null: true"),
             (enable_model_summary, "print a table of the model's layers; null: true"),
             (enable_checkpointing, "make checkpoints, after each epoch where no model_checkpoint says otherwise; null: true"),
             (callbacks, "callbacks by name"), (logger, "where metrics go: true (the csv logger), false, or loggers by name"),
             (profiler, "profilers by name, or none"), (deterministic, "refuse operations that are not deterministic; warn: only say so"),
             (benchmark, "let cuDNN measure its algorithms for each new shape; null: LibTorch's setting, false with deterministic"),
             (matmul_precision, "of matrix products in fp32; high allows TF32, medium bf16; null: LibTorch's setting"),
             (detect_anomaly, "name the operation whose gradient is NaN; slow"),
             (inference_mode,
              "evaluate in LibTorch's inference mode: tensors made there can never be trained with; false: without gradients"),
             (use_distributed_sampler, "cut the data sets over the ranks; false: each rank's data module has its own part, of equal size"),
             (reload_dataloaders_every_n_epochs, "ask the data module for its loaders again after N epochs; 0: never", at_least(0)),
             (enable_autolog_hparams, "pass the options of the run to the loggers"),
             (barebones, "measure raw speed: no logging, progress bar, summary or sanity check"),
             (test_after_fit, "test the trained model at the end of fit"))

}  // namespace levin
