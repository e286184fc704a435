#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "levin/core/config.h"
#include "levin/core/seconds.h"
#include "levin/nn/activation_checkpointing_kind.h"
#include "levin/optim/clip.h"
#include "levin/optim/loss_scaler.h"
#include "levin/parallel/strategy_config.h"
#include "levin/session/precision.h"

namespace levin {

/// The handling of a step whose mean gradient is not finite. In 16-mixed it is always skipped, and the loss scale reduced.
enum class NonfiniteGradients {
  ignore,  ///< not checked
  skip,    ///< the parameters stay as they are, and the step is counted among those skipped
  error    ///< on all ranks
};
LEVIN_ENUM(NonfiniteGradients, (ignore, "ignore"), (skip, "skip"), (error, "error"))

/// The configuration of a Session: the part of a TrainerConfig without loops. Set directly by programs with their own loop.
struct SessionConfig {
  std::string accelerator = "auto";
  StrategyConfig strategy = {};
  Precision precision = Precision::float32;
  LossScaling loss_scaling = {};
  std::optional<double> gradient_clip_val = {};
  ClipAlgorithm gradient_clip_algorithm = ClipAlgorithm::norm;
  NonfiniteGradients nonfinite_gradients = NonfiniteGradients::ignore;
  ActivationCheckpointing activation_checkpointing = ActivationCheckpointing::none;
  bool sync_batchnorm = false;
  int64_t num_threads = 0;
  std::filesystem::path window_directory = "/dev/shm";
  Seconds comm_timeout{300};
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
             (sync_batchnorm, "batch normalization has the statistics of all ranks"),
             (num_threads,
              "threads a rank computes with; 0: OMP_NUM_THREADS, else SLURM_CPUS_PER_TASK, else its share of the cores that it may use",
              at_least(0)),
             (window_directory, "where ranks of one node put the memory that they share"),
             (comm_timeout, "end the job when a collective between GPUs, or the start of NCCL, takes longer", greater_than(Seconds{0})))

}  // namespace levin
