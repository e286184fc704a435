#pragma once
#include <algorithm>
#include <cstddef>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// Chunk size of HierarchicalCommunicator. It grows with the number of hosts, so that a host's share of a chunk is large compared with the
/// cost of a message, and a ring has few latency-bound rounds.
constexpr size_t chunk_bytes(size_t hosts, size_t direct_hosts = Communicator::direct_hosts) {
  constexpr size_t few = size_t{4} << 20, least = size_t{16} << 20, most = size_t{128} << 20, for_each_host = size_t{512} << 10;
  return hosts <= direct_hosts ? few : std::clamp(hosts * for_each_host, least, most);
}

}  // namespace levin::detail
