#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/nn/activation_checkpointing_kind.h"
#include "levin/optim/clip.h"
#include "levin/optim/loss_scaler.h"
#include "levin/parallel/strategy_config.h"
#include "levin/trainer/component_choices.h"
#include "levin/trainer/intervals.h"
#include "levin/trainer/precision.h"

namespace levin {

/// What a step does whose mean gradient is not finite, other than in 16-mixed, where it is skipped and the scale of the loss falls.
enum class NonfiniteGradients {
  ignore,  ///< nobody looks
  skip,    ///< the parameters stay as they are, and the step is counted among those skipped
  error    ///< on all ranks
};
LEVIN_ENUM(NonfiniteGradients, (ignore, "ignore"), (skip, "skip"), (error, "error"))

/// What a Session needs: the part of a TrainerConfig without loops. Set directly by programs with a loop of their own.
struct SessionConfig {
  std::string accelerator = "auto";
  StrategyConfig strategy = {};
  Precision precision = Precision::float32;
  LossScaling loss_scaling = {};
  std::optional<double> gradient_clip_val = {};
  ClipAlgorithm gradient_clip_algorithm = ClipAlgorithm::norm;
  NonfiniteGradients nonfinite_gradients = NonfiniteGradients::ignore;
  ActivationCheckpointing activation_checkpointing = ActivationCheckpointing::none;
  int64_t num_threads = 0;
  std::filesystem::path window_directory = "/dev/shm";
};
LEVIN_CONFIG(SessionConfig, (accelerator, "auto, cpu, gpu (which is cuda), or a plug-in: its name or its file"),
             (strategy, "how ranks work together"), (precision, "dtype of parameters and computation"),
             (loss_scaling, "how 16-mixed keeps gradients in the range of fp16"),
             (gradient_clip_val, "largest norm or value of the gradient", at_least(0)),
             (gradient_clip_algorithm, "what gradient_clip_val limits"),
             (nonfinite_gradients, "look for infinities and NaN in a step's gradient, and skip the step or fail; 16-mixed always skips"),
             (activation_checkpointing,
              "units keep only their inputs and compute their forward again in the backward; offload: inputs in host memory; none: as the "
              "model says"),
             (num_threads, "threads a rank computes with; 0: OMP_NUM_THREADS, else its share of the cores that it may use", at_least(0)),
             (window_directory, "where ranks of one node put the memory that they share"))

/// Whether operations without a deterministic way are refused, only warned of, or allowed (Lightning's values).
enum class Deterministic { no, yes, warn };
LEVIN_ENUM(Deterministic, (no, "false"), (yes, "true"), (warn, "warn"))

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
  Deterministic deterministic = Deterministic::no;
  bool detect_anomaly = false;
  bool barebones = false;
  bool test_after_fit = false;

  void validate() const;
  /// With fast_dev_run, overfit_batches and barebones worked in, and a value in every option that they decide. ConfigError where options
  /// contradict each other.
  TrainerConfig worked_out() const;
};
LEVIN_CONFIG(TrainerConfig, (session, "", flattened), (devices, "ranks that are meant to run; auto: as many as were started", at_least(1)),
             (num_nodes, "hosts that are meant to take part; auto: as many as there are", at_least(1)),
             (max_epochs, "epochs to train; -1: no limit; null: 1000, or no limit where max_steps or max_time is given", at_least(-1)),
             (min_epochs, "a stop before so many epochs waits for them; null: 1 with min_steps, else 0", at_least(0)),
             (max_steps, "optimizer steps to train; -1: no limit", at_least(-1)),
             (min_steps, "a stop before so many steps waits for them", at_least(0)),
             (max_time, "stop when the training has taken so long", greater_than(Seconds{0})),
             (limit_train_batches, "batches of an epoch to train with"), (limit_val_batches, "batches to validate with"),
             (limit_test_batches, "batches to test with"), (limit_predict_batches, "batches to predict"),
             (overfit_batches, "train and validate with so much of the data, the same in every epoch and in order; 0.0: off"),
             (fast_dev_run, "run so many batches of everything and log nothing: a smoke test"),
             (accumulate_grad_batches, "batches whose gradients make one optimizer step", at_least(1)),
             (val_check_interval, "batches, part of an epoch, or time between validations"),
             (check_val_every_n_epoch, "epochs between validations; null: val_check_interval counts on across epochs", at_least(1)),
             (num_sanity_val_steps, "validation batches before training; -1: all, 0: none; null: 2", at_least(-1)),
             (log_every_n_steps, "steps between rows of the loggers; null: 50", at_least(1)),
             (enable_progress_bar, "a bar on a terminal, else a line every few seconds; null: true"),
             (enable_model_summary, "print a table of the model's layers; null: true"),
             (enable_checkpointing, "make checkpoints, after each epoch where no model_checkpoint says otherwise; null: true"),
             (callbacks, "what else acts during the run, by name"),
             (logger, "where metrics go: true (the csv logger), false, or loggers by name"),
             (deterministic, "refuse operations that are not deterministic; warn: only say so"),
             (detect_anomaly, "name the operation whose gradient is NaN; slow"),
             (barebones, "measure raw speed: no logging, progress bar, summary or sanity check"),
             (test_after_fit, "test the trained model at the end of fit"))

}  // namespace levin
