#include "nccl_start.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "check.h"
#include "levin/comm/host_values.h"

namespace levin {
namespace {

cudaUUID_t id_of(c10::Device device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index()), "cudaGetDeviceProperties");
  return properties.uuid;
}

}  // namespace

void take_device(const MpiRuntime& runtime, NodeGroup& node, c10::Device device) {
  const auto mine = on_all_ranks(runtime.communicator(), "cuda", [&] {
    check_cuda(cudaSetDevice(device.index()), "cudaSetDevice");
    return id_of(device);
  });
  std::vector<cudaUUID_t> all(static_cast<size_t>(node.size()));
  node.exchange_structs(mine, std::span(all));
  on_all_ranks(runtime.communicator(), "cuda", [&] {
    for (int other = 0; other < node.size(); other++)
      if (other != node.rank() && std::memcmp(&all[static_cast<size_t>(other)], &mine, sizeof(mine)) == 0)
        throw ConfigError(fmt::format("{} ranks on a host, and its local ranks {} and {} have the same GPU", node.size(),
                                      std::min(other, node.rank()), std::max(other, node.rank())),
                          "start at most one rank for each GPU, and let a rank see all of its host's GPUs or its own alone", "cuda");
  });
}

std::vector<std::string> rank_names(const Topology& topology) {
  std::vector<std::string> names;
  for (const auto& location : topology.locations()) names.push_back(fmt::format("rank {} on {}", names.size(), location.host));
  return names;
}

std::string ranks_and_hosts(const Topology& topology) {
  constexpr size_t most = 8;
  std::vector<std::string> hosts;
  for (const auto& location : topology.locations())
    if (std::find(hosts.begin(), hosts.end(), location.host) == hosts.end()) hosts.push_back(location.host);
  const bool cut = hosts.size() > most;
  if (cut) hosts.resize(most);
  return fmt::format("{} ranks on {}{}", topology.locations().size(), fmt::join(hosts, ", "), cut ? ", …" : "");
}

int number_of_ids(int ranks) {
  constexpr int ranks_of_one = 1024, ranks_of_each = 512;
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 23, 0)
  return ranks > ranks_of_one ? (ranks + ranks_of_each - 1) / ranks_of_each : 1;
#else
  static_cast<void>(ranks), static_cast<void>(ranks_of_one), static_cast<void>(ranks_of_each);
  return 1;
#endif
}

std::vector<ncclUniqueId> share_ids(const MpiRuntime& runtime) {
  const int64_t number = number_of_ids(runtime.size());
  std::vector<ncclUniqueId> ids(static_cast<size_t>(number));
  const auto maker = [&](int64_t i) { return static_cast<int>(i * runtime.size() / number); };
  on_all_ranks(runtime.communicator(), "cuda", [&] {
    for (int64_t i = 0; i < number; i++)
      if (maker(i) == runtime.rank()) check_nccl(ncclGetUniqueId(&ids[static_cast<size_t>(i)]), "ncclGetUniqueId");
  });
  for (int64_t i = 0; i < number; i++)
    check_mpi(MPI_Bcast(&ids[static_cast<size_t>(i)], sizeof(ncclUniqueId), MPI_BYTE, maker(i), runtime.communicator()), "MPI_Bcast");
  return ids;
}

}  // namespace levin
