#pragma once
#include <algorithm>
#include <cstddef>

#include "levin/comm/communicator.h"

namespace levin::detail {

/// Bytes of a tensor that HierarchicalCommunicator moves at a time. Many hosts get large chunks, so that a host's part of one is worth a
/// message, and a ring waits for few rounds of latencies.
constexpr size_t chunk_bytes(size_t hosts, size_t direct_hosts = Communicator::direct_hosts) {
  constexpr size_t few = size_t{4} << 20, least = size_t{16} << 20, most = size_t{128} << 20, for_each_host = size_t{512} << 10;
  return hosts <= direct_hosts ? few : std::clamp(hosts * for_each_host, least, most);
}

}  // namespace levin::detail
