#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/config.h"

namespace levin {

/// A cluster to plan for. Bandwidths are those that long messages achieve, in bytes per second; latencies are those of empty messages.
struct ClusterConfig {
  int64_t nodes = 1;
  int64_t devices_per_node = 1;
  std::optional<Bytes> node_memory = {};
  std::optional<Bytes> device_memory = {};
  Bytes memory_bandwidth{20'000'000'000};
  Bytes bandwidth_in_node{100'000'000'000};
  Bytes bandwidth_between_nodes{12'500'000'000};
  Seconds latency_in_node{1e-6};
  Seconds latency_between_nodes{2e-6};
  double device_flops = 1e11;

  int64_t ranks() const noexcept { return nodes * devices_per_node; }
  /// Devices have private memory and communicate by a library like NCCL; otherwise the ranks of a node share its memory.
  bool own_memory() const noexcept { return device_memory.has_value(); }
};
LEVIN_CONFIG(ClusterConfig, (nodes, "nodes", between(1, 1'000'000)),
             (devices_per_node, "ranks of a node, each with a device", between(1, 1024)),
             (node_memory, "memory of a node that its ranks may fill; null: what this machine has free"),
             (device_memory, "memory of a device that has its own; null: devices are CPUs, whose ranks share the node's memory"),
             (memory_bandwidth, "bytes a second of the memory of a node, or of a device that has its own", at_least(Bytes{1})),
             (bandwidth_in_node, "bytes a second between two devices of a node that have their own memory", at_least(Bytes{1})),
             (bandwidth_between_nodes, "bytes a second that a node sends, while it receives as many", at_least(Bytes{1})),
             (latency_in_node, "of a message or a barrier in a node", at_least(Seconds{0})),
             (latency_between_nodes, "of a message between nodes", at_least(Seconds{0})),
             (device_flops, "floating-point operations a second that a rank really does in a model", greater_than(0)))

}  // namespace levin
