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
             (batch, "samples of a rank's micro-batch, or tokens for a language model", greater_than(0)),
             (flops, "floating-point operations of a rank's micro-batch, forward and backward; null: 6 per parameter and sample",
              greater_than(0)),
             (reserved, "memory of a rank that is not counted, such as activations"))

/// Prints memory, collectives and time of a step for each strategy. Needs no MPI, and sets up the data only if a model option is linked to
/// them. ConfigError if the configured strategy does not fit.
void print_plan(const PlanConfig& config, const TrainerConfig& trainer, const std::optional<OptimizerConfig>& optimizer,
                ProgramOptions& options, const Program& program);

}  // namespace levin::cli
