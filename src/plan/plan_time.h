#pragma once
#include <vector>

#include "levin/plan/plan.h"
#include "simulated_step.h"

namespace levin::detail {

/// Seconds of a rank's memory traffic of `bytes`, when all ranks of its node have as much.
double traffic_seconds(double bytes, const ClusterConfig& cluster);
/// Seconds of a forward through all of the model.
double forward_seconds(const ClusterConfig& cluster, const Workload& work);
/// Whether a communicator's collectives overlap computation: they run on a thread or a device stream.
bool in_background(const GroupShape& shape, const ClusterConfig& cluster);

/// One representative rank, on which each communicator does one collective after the other.
StepTime step_time(const std::vector<StepEvent>& events, const PlanModel& model, const ShardingPlan& sharding, const ClusterConfig& cluster,
                   const Workload& work);

}  // namespace levin::detail
