#pragma once
#include <vector>

#include "levin/parallel/plan.h"
#include "step_walk.h"

namespace levin::detail {

/// Seconds of a rank's memory traffic of so many bytes, when all ranks of its node have as much.
double traffic_seconds(double bytes, const ClusterConfig& cluster);
/// Seconds of a forward through all of the model.
double forward_seconds(const ClusterConfig& cluster, const PlanWork& work);
/// Whether a communicator's collectives go on while a rank computes: it has a thread, or a device's stream, of its own.
bool in_background(const Places& places, const ClusterConfig& cluster);

/// One representative rank, on which each communicator does one collective after the other.
StepTime step_time(const std::vector<StepEvent>& events, const PlanModel& model, const Form& form, const ClusterConfig& cluster,
                   const PlanWork& work);

}  // namespace levin::detail
