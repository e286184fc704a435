#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>

#include "levin/core/config.h"
#include "levin/optim/clip.h"
#include "levin/parallel/strategy_config.h"

namespace levin {

/// The dtype of parameters and computation (Lightning's names).
enum class Precision { float32, float64 };
LEVIN_ENUM(Precision, (float32, "32-true"), (float64, "64-true"))

/// What a Session needs: the part of a TrainerConfig without loops. Set directly by programs with a loop of their own.
struct SessionConfig {
  std::string accelerator = "auto";
  StrategyConfig strategy = {};
  Precision precision = Precision::float32;
  std::optional<double> gradient_clip_val = {};
  ClipAlgorithm gradient_clip_algorithm = ClipAlgorithm::norm;
  int64_t num_threads = 0;
  std::filesystem::path window_directory = "/dev/shm";
};
LEVIN_CONFIG(SessionConfig, (accelerator, "auto, cpu, or the name of a plug-in's"), (strategy, "how ranks work together"),
             (precision, "dtype of parameters and computation"), (gradient_clip_val, "largest norm or value of the gradient", at_least(0)),
             (gradient_clip_algorithm, "what gradient_clip_val limits"),
             (num_threads, "threads a rank computes with; 0: its share of the cores that it may use", at_least(0)),
             (window_directory, "where ranks of one node put the memory that they share"))

/// So many batches of everything, as a smoke test: false, true (one batch) or a number.
struct FastDevRun {
  int64_t batches = 0;

  static constexpr std::string_view format = "true, false, or a number of batches";
  static std::optional<FastDevRun> from_text(std::string_view text);
  std::string to_text() const;
  friend bool operator==(const FastDevRun&, const FastDevRun&) = default;
};

/// The options of a Trainer. Names and meanings are Lightning's where it has them.
struct TrainerConfig {
  SessionConfig session = {};
  AutoCount devices = {};
  std::optional<int64_t> max_epochs = {};
  int64_t max_steps = -1;
  Limit limit_train_batches = {};
  Limit limit_val_batches = {};
  Limit limit_test_batches = {};
  Limit limit_predict_batches = {};
  FastDevRun fast_dev_run = {};
  int64_t accumulate_grad_batches = 1;
  Limit val_check_interval = {};
  int64_t check_val_every_n_epoch = 1;
  int64_t num_sanity_val_steps = 2;
  int64_t log_every_n_steps = 50;
  bool enable_progress_bar = true;
  bool enable_model_summary = true;
  bool logger = true;
  bool test_after_fit = false;

  void validate() const;
};
LEVIN_CONFIG(TrainerConfig, (session, "", flattened), (devices, "ranks that are meant to run; auto: as many as were started", at_least(1)),
             (max_epochs, "epochs to train; -1: no limit; null: 1000, or no limit where max_steps is given", at_least(-1)),
             (max_steps, "optimizer steps to train; -1: no limit", at_least(-1)),
             (limit_train_batches, "batches of an epoch to train with"), (limit_val_batches, "batches to validate with"),
             (limit_test_batches, "batches to test with"), (limit_predict_batches, "batches to predict"),
             (fast_dev_run, "run so many batches of everything and log nothing: a smoke test"),
             (accumulate_grad_batches, "batches whose gradients make one optimizer step", at_least(1)),
             (val_check_interval, "batches, or part of an epoch, between validations"),
             (check_val_every_n_epoch, "epochs between validations", at_least(1)),
             (num_sanity_val_steps, "validation batches before training; -1: all, 0: none", at_least(-1)),
             (log_every_n_steps, "steps between rows of the loggers", at_least(1)),
             (enable_progress_bar, "a bar on a terminal, else a line every few seconds"),
             (enable_model_summary, "print a table of the model's layers"), (logger, "write metrics.csv"),
             (test_after_fit, "test the trained model at the end of fit"))

}  // namespace levin
