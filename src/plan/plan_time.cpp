#include "plan_time.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "../comm/chunk_bytes.h"

namespace levin {
namespace {

// The cost of a collective, independent of the speed of the machine.
struct Cost {
  double messages = 0;     // one after the other, between nodes
  double bytes_sent = 0;   // by a node
  double bytes_moved = 0;  // in a node's memory, read and written
  double barriers = 0;     // in a node
};

// Inside a node: memory traffic of all its ranks.
Cost in_node(const PlannedCollective& collective, double ranks) {
  const auto n = static_cast<double>(collective.bytes);
  const double staged = collective.in_window ? 0 : 2 * ranks * n;  // into the stage
  switch (collective.op) {
    case CollectiveOp::all_reduce:
      return {.bytes_moved = collective.in_window ? 2 * ranks * n : staged + (ranks + 1) * n + 2 * ranks * n, .barriers = 2};
    case CollectiveOp::reduce_scatter: return {.bytes_moved = staged + (ranks + 1) * n, .barriers = 2};
    case CollectiveOp::all_gather: return {.bytes_moved = (collective.in_window ? 0 : 2 * n) + 2 * ranks * n, .barriers = 2};
    case CollectiveOp::read_peers: return {.bytes_moved = (ranks + 1) * n};
    default: return {.barriers = 1};  // gather_shared, too: there is one copy
  }
}

// Between nodes: the ranks of a node combine in a window, and its leader sends to all other nodes at once.
Cost between_nodes(const PlannedCollective& collective, const GroupShape& shape) {
  const auto n = static_cast<double>(collective.bytes), wide = static_cast<double>(collective.bytes_between_nodes);
  const auto hosts = static_cast<double>(shape.hosts), local = static_cast<double>(shape.local);
  const double others = (hosts - 1) / hosts;
  const bool direct = shape.local == 1 && collective.in_window && wide == n;
  const bool ring = shape.hosts > Communicator::direct_hosts;  // MPI's, for an all-reduce
  const auto chunk = static_cast<double>(detail::chunk_bytes(static_cast<size_t>(shape.hosts)));
  const double chunks =
      direct && collective.op == CollectiveOp::gather_shared ? std::ceil(n / chunk) : std::max(1.0, std::ceil(wide / chunk));
  // Each rank's part goes to the window, and the node's sum of it is made there.
  const double summed = direct ? 0 : collective.in_window ? local * n + wide : 3 * local * n + wide;
  Cost cost{.messages = 1, .barriers = 2};  // the meeting
  switch (collective.op) {
    case CollectiveOp::all_reduce:
      cost.messages += (ring ? 2 * (hosts - 1) : 2) * chunks;
      cost.bytes_sent = others * (wide + (ring ? wide : n));
      cost.bytes_moved = summed + wide + wide / hosts + (direct ? 0 : 2 * local * n);
      cost.barriers += 3 * chunks;
      break;
    case CollectiveOp::reduce_scatter:
      cost.messages += chunks;
      cost.bytes_sent = others * wide;
      cost.bytes_moved = summed + wide + wide / hosts + (direct ? 0 : 2 * n / hosts);
      cost.barriers += 3 * chunks;
      break;
    case CollectiveOp::all_gather:
    case CollectiveOp::gather_shared:
      cost.messages += chunks;
      cost.bytes_sent = others * n;
      cost.bytes_moved = collective.op == CollectiveOp::all_gather ? 2 * n / hosts + 2 * local * n
                         : direct                                  ? 0
                                                                   : 2 * n / hosts + 2 * others * n;
      cost.barriers += 3 * chunks;
      break;
    case CollectiveOp::exchange:
      cost.messages += 1;
      cost.bytes_sent = others * n;
      cost.barriers += 3;
      break;
    default: break;
  }
  return cost;
}

// A ring of devices, as NCCL makes them; its slowest link counts.
double ring_seconds(const PlannedCollective& collective, const GroupShape& shape, const ClusterConfig& cluster) {
  const auto ranks = static_cast<double>(shape.ranks());
  const bool leaves = shape.hosts > 1;
  const double latency = (leaves ? cluster.latency_between_nodes : cluster.latency_in_node).value;
  const double bandwidth =
      leaves ? cluster.bandwidth_between_nodes.number() / static_cast<double>(shape.concurrent_groups) : cluster.bandwidth_in_node.number();
  const double rounds = collective.op == CollectiveOp::all_reduce ? 2 : collective.op == CollectiveOp::barrier ? 0 : 1;
  return rounds * (ranks - 1) * (latency + static_cast<double>(collective.bytes) / ranks / bandwidth);
}

}  // namespace

double collective_seconds(const PlannedCollective& collective, const GroupShape& shape, const ClusterConfig& cluster) {
  if (shape.ranks() == 1) return 0;
  if (cluster.own_memory() && collective.op != CollectiveOp::exchange) return ring_seconds(collective, shape, cluster);
  const auto concurrent = static_cast<double>(shape.concurrent_groups);
  const Cost cost = shape.hosts == 1 ? in_node(collective, static_cast<double>(shape.local)) : between_nodes(collective, shape);
  return cost.messages * cluster.latency_between_nodes.value + cost.barriers * cluster.latency_in_node.value +
         concurrent * cost.bytes_sent / cluster.bandwidth_between_nodes.number() +
         concurrent * cost.bytes_moved / cluster.memory_bandwidth.number();
}

namespace detail {

double traffic_seconds(double bytes, const ClusterConfig& cluster) {
  return bytes * static_cast<double>(cluster.own_memory() ? 1 : cluster.devices_per_node) / cluster.memory_bandwidth.number();
}

double forward_seconds(const ClusterConfig& cluster, const Workload& work) { return work.flops / 3 / cluster.device_flops; }

bool in_background(const GroupShape& shape, const ClusterConfig& cluster) { return cluster.own_memory() || shape.hosts > 1; }

StepTime step_time(const std::vector<StepEvent>& events, const PlanModel& model, const ShardingPlan& sharding, const ClusterConfig& cluster,
                   const Workload& work) {
  const double of_parameter = forward_seconds(cluster, work) / std::max(1.0, static_cast<double>(model.numel()));
  StepTime time;
  const auto shapes_by_role = role_shapes(sharding, cluster);
  std::array<double, 3> idle{};  // from when each communicator is; a device runs one collective after the other
  std::vector<double> done;      // of each collective
  double now = 0;
  for (const auto& event : events) {
    if (event.kind == StepEvent::Kind::compute) {
      now += event.amount * of_parameter;
      time.compute_seconds += event.amount * of_parameter;
    } else if (event.kind == StepEvent::Kind::memory) {
      now += traffic_seconds(event.amount, cluster);
      time.update_seconds += traffic_seconds(event.amount, cluster);
    } else if (event.kind == StepEvent::Kind::start) {
      const auto& shape = shapes_by_role[static_cast<size_t>(event.collective.role)];
      const double seconds = collective_seconds(event.collective, shape, cluster);
      if (in_background(shape, cluster)) {
        double& busy_until = idle[cluster.own_memory() ? 0 : static_cast<size_t>(event.collective.role)];
        done.push_back(busy_until = std::max(busy_until, now) + seconds);
      } else {
        done.push_back(now += seconds);
        time.communication_seconds += seconds;
      }
    } else if (event.kind == StepEvent::Kind::wait && done[event.index] > now) {
      time.communication_seconds += done[event.index] - now;
      now = done[event.index];
    }
  }
  return time;
}

}  // namespace detail
}  // namespace levin
