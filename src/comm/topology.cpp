#include "levin/comm/topology.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>

#include "hardware_map.h"
#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"
#include "levin/core/number_text.h"
#include "ranges.h"

namespace levin {
namespace {

/// Sets the cores that the calling thread may run on (MPI's threads may have others), and their NUMA domain.
void find_cores(RankLocation& location) {
  const detail::HardwareMap map;
  const detail::Bitmap cpus, domains;
  if (hwloc_get_cpubind(map.value, cpus.value, HWLOC_CPUBIND_THREAD) != 0)
    hwloc_bitmap_copy(cpus.value, hwloc_topology_get_allowed_cpuset(map.value));
  for (int i = 0; i < hwloc_get_nbobjs_by_type(map.value, HWLOC_OBJ_CORE); i++) {
    const auto core = hwloc_get_obj_by_type(map.value, HWLOC_OBJ_CORE, static_cast<unsigned>(i));
    if (hwloc_bitmap_intersects(core->cpuset, cpus.value)) location.cores.push_back(i);
  }
  hwloc_cpuset_to_nodeset(map.value, cpus.value, domains.value);
  location.numa_domain = hwloc_bitmap_weight(domains.value) == 1 ? hwloc_bitmap_first(domains.value) : -1;
}

/// A rank's line in the gathered text: leader, NUMA domain, number of cores, cores, host.
std::string encode(const RankLocation& location, int leader) {
  std::string text = fmt::format("{} {} {}", leader, location.numa_domain, location.cores.size());
  for (int core : location.cores) text += fmt::format(" {}", core);
  return text + " " + location.host + "\n";
}

std::string_view take_until(std::string_view& rest, char end) {
  const auto size = rest.find(end);
  if (size == std::string_view::npos) throw CommunicatorError("the gathered placement of ranks is truncated");
  const auto taken = rest.substr(0, size);
  rest.remove_prefix(size + 1);
  return taken;
}

// Not a stream, which would follow the program's locale.
int take_number(std::string_view& rest) {
  const auto number = parse_number<int>(take_until(rest, ' '));
  if (!number) throw CommunicatorError("the gathered placement of ranks has an invalid number");
  return *number;
}

std::string gather(const MpiRuntime& runtime, const std::string& mine) {
  std::vector<int> sizes(static_cast<size_t>(runtime.size())), offsets(sizes.size());
  const int size = static_cast<int>(mine.size());
  check_mpi(MPI_Allgather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, runtime.communicator()), "MPI_Allgather");
  std::exclusive_scan(sizes.begin(), sizes.end(), offsets.begin(), 0);
  std::string all(static_cast<size_t>(offsets.back() + sizes.back()), ' ');
  check_mpi(MPI_Allgatherv(mine.data(), size, MPI_CHAR, all.data(), sizes.data(), offsets.data(), MPI_CHAR, runtime.communicator()),
            "MPI_Allgatherv");
  return all;
}

/// The first rank that shares memory with this rank. It identifies the host: two containers may have the same host name.
int find_leader(const MpiRuntime& runtime) {
  MPI_Comm node = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(runtime.communicator(), MPI_COMM_TYPE_SHARED, runtime.rank(), MPI_INFO_NULL, &node), "MPI_Comm_split_type");
  int leader = runtime.rank();
  const int code = MPI_Bcast(&leader, 1, MPI_INT, 0, node);
  MPI_Comm_free(&node);
  check_mpi(code, "MPI_Bcast");
  return leader;
}

/// The placements of a host by local rank, equal ones merged. Hosts with equal texts share a line.
std::string describe_host(const std::vector<const RankLocation*>& ranks) {
  std::string text;
  for (size_t first = 0, last; first < ranks.size(); first = last) {
    std::vector<int> alike;
    for (last = first;
         last < ranks.size() && ranks[last]->cores == ranks[first]->cores && ranks[last]->numa_domain == ranks[first]->numa_domain; last++)
      alike.push_back(ranks[last]->local_rank);
    const int domain = ranks[first]->numa_domain;
    text +=
        fmt::format("{}local rank{} {} on core{} {}{}", first == 0 ? "" : "; ", alike.size() == 1 ? "" : "s", detail::format_ranges(alike),
                    ranks[first]->cores.size() == 1 ? "" : "s", detail::format_ranges(ranks[first]->cores),
                    domain < 0 ? ", several NUMA domains" : fmt::format(", NUMA domain {}", domain));
  }
  return text;
}

}  // namespace

Topology Topology::discover(const MpiRuntime& runtime) {
  RankLocation mine;
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  check_mpi(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name");
  mine.host.assign(name, static_cast<size_t>(length));
  find_cores(mine);
  const std::string text = gather(runtime, encode(mine, find_leader(runtime)));

  std::string_view rest = text;
  std::vector<RankLocation> locations;
  std::map<int, int> local_sizes;  // by leader
  std::vector<int> leaders;
  for (int rank = 0; rank < runtime.size(); rank++) {
    RankLocation location;
    leaders.push_back(take_number(rest));
    location.numa_domain = take_number(rest);
    location.cores.resize(static_cast<size_t>(take_number(rest)));
    for (int& core : location.cores) core = take_number(rest);
    location.host = take_until(rest, '\n');
    location.rank = rank;
    location.local_rank = local_sizes[leaders.back()]++;
    locations.push_back(std::move(location));
  }
  return Topology(std::move(locations), std::move(leaders), runtime.rank());
}

Topology::Topology(std::vector<RankLocation> locations, std::vector<int> leaders, int rank)
    : locations_(std::move(locations)), leaders_(std::move(leaders)), rank_(rank) {
  auto distinct = leaders_;
  std::sort(distinct.begin(), distinct.end());
  hosts_ = static_cast<int>(std::unique(distinct.begin(), distinct.end()) - distinct.begin());
  local_size_ = static_cast<int>(std::count(leaders_.begin(), leaders_.end(), leaders_[static_cast<size_t>(rank)]));
}

std::string Topology::describe() const {
  std::map<int, std::vector<const RankLocation*>> hosts;
  for (const auto& location : locations_) hosts[leaders_[static_cast<size_t>(location.rank)]].push_back(&location);
  struct Line {
    std::vector<std::string> names;
    std::vector<int> ranks;
    std::string placement;
  };
  std::vector<Line> lines;
  for (const auto& [leader, ranks] : hosts) {
    const auto placement = describe_host(ranks);
    auto line = std::find_if(lines.begin(), lines.end(), [&](const Line& candidate) { return candidate.placement == placement; });
    if (line == lines.end()) line = lines.insert(lines.end(), Line{{}, {}, placement});
    line->names.push_back(ranks[0]->host);
    for (const auto* location : ranks) line->ranks.push_back(location->rank);
  }
  std::string text;
  for (auto& line : lines) {
    std::sort(line.ranks.begin(), line.ranks.end());
    const auto& names = line.names;
    text += fmt::format("{}: rank{} {}; {}\n",
                        names.size() == 1 ? names[0] : fmt::format("{} hosts, {} to {}", names.size(), names.front(), names.back()),
                        line.ranks.size() == 1 ? "" : "s", detail::format_ranges(line.ranks), line.placement);
  }
  return text;
}

}  // namespace levin
