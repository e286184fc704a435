#pragma once
#include <optional>

#include "levin/core/config.h"
#include "levin/optim/optimizer.h"
#include "levin/plan/cluster_config.h"
#include "levin/trainer/trainer_config.h"

namespace levin {
class ProgramOptions;
}

namespace levin::cli {

struct Program;

/// The options of the subcommand `plan`.
struct PlanConfig {
  ClusterConfig cluster;
  double batch = 1;
  std::optional<double> flops = {};
  Bytes reserved{0};
};
LEVIN_CONFIG(PlanConfig, (cluster, "", flattened),
             (batch, "samples of a rank's micro-batch, or tokens where a parameter is used for each of them", greater_than(0)),
             (flops, "floating-point operations of a rank's micro-batch, forward and backward; null: 6 a parameter and sample",
              greater_than(0)),
             (reserved, "memory of a rank for all but parameters, gradients and optimizer state, such as activations"))

/// Prints what a training needs of a cluster, for each strategy. Without MPI; the data are asked only where they decide on the model.
/// ConfigError where the chosen strategy does not fit.
void print_plan(const PlanConfig& config, const TrainerConfig& trainer, const std::optional<OptimizerConfig>& optimizer,
                ProgramOptions& options, const Program& program);

}  // namespace levin::cli
