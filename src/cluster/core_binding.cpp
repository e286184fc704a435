#include "levin/cluster/core_binding.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "../comm/hardware_map.h"
#include "../comm/ranges.h"
#include "host_ranks.h"
#include "levin/comm/topology.h"
#include "levin/core/number_text.h"

namespace levin {
namespace {

constexpr size_t most_warnings = 3;  // of a kind; a mistake in a job script is made on all hosts

bool openmp_binds(const GetVariable& get_variable) {
  const char* bind = get_variable("OMP_PROC_BIND");
  if (bind && *bind && std::string_view(bind) != "false" && std::string_view(bind) != "FALSE") return true;
  for (const char* name : {"OMP_PLACES", "GOMP_CPU_AFFINITY"})
    if (const char* value = get_variable(name); value && *value) return true;
  return false;
}

/// The cores that the calling thread may use.
class UsableCores {
 public:
  UsableCores() {
    bound_ = hwloc_get_cpubind(map_.value, cpus_.value, HWLOC_CPUBIND_THREAD) == 0;
    if (!bound_) return;
    for (int i = 0; i < hwloc_get_nbobjs_by_type(map_.value, HWLOC_OBJ_CORE); i++) {
      const auto core = hwloc_get_obj_by_type(map_.value, HWLOC_OBJ_CORE, static_cast<unsigned>(i));
      if (!hwloc_bitmap_intersects(core->cpuset, cpus_.value)) continue;
      cores_.push_back(core);
      domains_.push_back(hwloc_bitmap_first(core->nodeset));
    }
  }

  bool known() const noexcept { return bound_ && !cores_.empty(); }
  int processors() const { return hwloc_bitmap_weight(cpus_.value); }
  const std::vector<int>& domains() const noexcept { return domains_; }
  /// A number that differs, as good as always, between sets of processors.
  uint64_t fingerprint() const {
    uint64_t hash = 14695981039346656037ULL;
    int cpu = -1;
    while ((cpu = hwloc_bitmap_next(cpus_.value, cpu)) >= 0) hash = (hash ^ static_cast<uint64_t>(cpu)) * 1099511628211ULL;
    return hash;
  }
  /// Threads that exist, and those that they start, may then use these cores only.
  bool bind(CoreShare share) const {
    const detail::Bitmap cpus;
    for (int i = share.first; i < share.first + share.count; i++)
      hwloc_bitmap_or(cpus.value, cpus.value, cores_[static_cast<size_t>(i)]->cpuset);
    hwloc_bitmap_and(cpus.value, cpus.value, cpus_.value);
    return hwloc_set_cpubind(map_.value, cpus.value, HWLOC_CPUBIND_PROCESS) == 0;
  }

 private:
  detail::HardwareMap map_;
  detail::Bitmap cpus_;
  bool bound_ = false;
  std::vector<hwloc_obj_t> cores_;
  std::vector<int> domains_;
};

int cores_of_host() { return hwloc_get_nbobjs_by_type(detail::HardwareMap().value, HWLOC_OBJ_CORE); }

/// Ranks by host. Hosts may share a name: the second rank with a name and a local rank is on another host.
std::map<std::pair<std::string, int>, std::vector<const RankLocation*>> ranks_by_host(const Topology& topology) {
  std::map<std::pair<std::string, int>, int> seen;
  std::map<std::pair<std::string, int>, std::vector<const RankLocation*>> hosts;
  for (const auto& location : topology.locations())
    hosts[{location.host, seen[{location.host, location.local_rank}]++}].push_back(&location);
  return hosts;
}

// Sets of ranks that are connected by cores in common.
std::vector<CrowdedCores> groups_of(const std::vector<const RankLocation*>& ranks) {
  std::vector<CrowdedCores> groups;
  for (const auto* location : ranks) {
    CrowdedCores joined{location->host, {location->rank}, location->cores};
    for (auto group = groups.begin(); group != groups.end();) {
      const bool meets = std::any_of(group->cores.begin(), group->cores.end(), [&](int core) {
        return std::find(location->cores.begin(), location->cores.end(), core) != location->cores.end();
      });
      if (!meets) {
        ++group;
        continue;
      }
      joined.ranks.insert(joined.ranks.end(), group->ranks.begin(), group->ranks.end());
      joined.cores.insert(joined.cores.end(), group->cores.begin(), group->cores.end());
      group = groups.erase(group);
    }
    for (auto* numbers : {&joined.ranks, &joined.cores}) {
      std::sort(numbers->begin(), numbers->end());
      numbers->erase(std::unique(numbers->begin(), numbers->end()), numbers->end());
    }
    groups.push_back(std::move(joined));
  }
  return groups;
}

std::string plural(int64_t count, const char* noun) { return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s"); }

class Warnings {
 public:
  void add(std::string text) {
    if (++count_ <= most_warnings) texts_.push_back(std::move(text));
  }
  void append_to(std::vector<std::string>& all) && {
    if (count_ > most_warnings) texts_.back() += fmt::format(" (and {} more like this)", count_ - most_warnings);
    all.insert(all.end(), texts_.begin(), texts_.end());
  }

 private:
  size_t count_ = 0;
  std::vector<std::string> texts_;
};

}  // namespace

std::vector<CoreShare> divide_cores(const std::vector<int>& domains, int ranks) {
  const int cores = static_cast<int>(domains.size());
  if (ranks < 1 || cores < ranks) return {};
  std::map<int, int> in_domain;
  for (const int domain : domains) in_domain[domain]++;
  const int parts = static_cast<int>(in_domain.size()), each = cores / parts;
  const bool even = ranks % parts == 0 && std::is_sorted(domains.begin(), domains.end()) &&
                    std::all_of(in_domain.begin(), in_domain.end(), [&](const auto& domain) { return domain.second == each; });
  const int blocks = even ? parts : 1, cores_of_block = cores / blocks, ranks_of_block = ranks / blocks;
  const int count = cores_of_block / ranks_of_block;
  std::vector<CoreShare> shares;
  for (int rank = 0; rank < ranks; rank++)
    shares.push_back({rank / ranks_of_block * cores_of_block + rank % ranks_of_block * count, count});
  return shares;
}

std::optional<int64_t> processors_of_job(const BatchJob& job, const GetVariable& get_variable) {
  const auto number = [&](const char* name) -> std::optional<int64_t> {
    const char* text = get_variable(name);
    const auto value = text ? parse_number<int64_t>(text) : std::nullopt;
    return value && *value > 0 ? value : std::nullopt;
  };
  if (job.system == BatchSystem::slurm) return number("SLURM_CPUS_ON_NODE");
  if (job.system != BatchSystem::pbs) return std::nullopt;
  const auto openpbs = number("NCPUS");
  return openpbs ? openpbs : number("PBS_NUM_PPN");  // Torque
}

std::string bind_ranks(const MpiRuntime& runtime, const BatchJob& job, const GetVariable& get_variable) {
  const detail::HostRanks host(runtime);
  if (host.size() == 1) return {};
  std::optional<UsableCores> usable;
  std::optional<uint64_t> fingerprint;
  const auto processors = processors_of_job(job, get_variable);
  if (processors && !openmp_binds(get_variable)) {
    try {
      usable.emplace();
      // Fewer processors than this rank may use: other jobs run on the rest, and nobody says on which.
      if (usable->known() && *processors >= usable->processors() && static_cast<int>(usable->domains().size()) >= host.size())
        fingerprint = usable->fingerprint();
    } catch (const CommunicatorError&) {  // hwloc does not know this machine: its ranks stay as they are
    }
  }
  if (!host.agree(fingerprint)) return {};
  const auto share = divide_cores(usable->domains(), host.size())[static_cast<size_t>(host.rank())];
  if (!usable->bind(share)) return {};
  return fmt::format("{} of a host bound to {} each, of {}", plural(host.size(), "rank"), plural(share.count, "core"),
                     usable->domains().size());
}

std::vector<CrowdedCores> find_crowded_cores(const Topology& topology) {
  std::vector<CrowdedCores> crowded;
  for (const auto& [name, ranks] : ranks_by_host(topology)) {
    auto groups = groups_of(ranks);
    const int in_use = std::accumulate(groups.begin(), groups.end(), 0,
                                       [](int sum, const auto& group) { return sum + static_cast<int>(group.cores.size()); });
    for (auto& group : groups) {
      group.cores_in_use = in_use;
      if (group.cores.size() < group.ranks.size() && !group.cores.empty()) crowded.push_back(std::move(group));
    }
  }
  return crowded;
}

std::vector<std::string> placement_warnings(ValueRanks ranks, const Topology& topology, const RankResources& mine) {
  struct Facts {
    int64_t cores_of_host, threads, devices;  // 0 cores: nobody asks
  };
  const auto crowded = find_crowded_cores(topology);
  const auto own_cores = static_cast<int64_t>(topology.self().cores.size());
  Facts facts{0, mine.threads, mine.devices};
  if (!crowded.empty() || mine.threads > own_cores) {
    try {
      facts.cores_of_host = cores_of_host();
    } catch (const CommunicatorError&) {  // no warning
    }
  }
  const auto all = all_gather_value(ranks, facts);
  const auto of = [&](int rank) -> const Facts& { return all[static_cast<size_t>(rank)]; };
  std::vector<std::string> texts;
  Warnings shared, threads, devices;
  for (const auto& group : crowded) {
    const int64_t cores = of(group.ranks.front()).cores_of_host, idle = cores - group.cores_in_use;
    if (idle <= 0) continue;
    shared.add(
        fmt::format("[cluster] {}: ranks {} share core{} {}, while {} of {} cores are idle; let the launcher bind each rank to its own "
                    "cores (srun --cpus-per-task=N --cpu-bind=cores, mpirun --map-by slot:PE=N), or none (mpirun --bind-to none)",
                    group.host, detail::format_ranges(group.ranks), group.cores.size() == 1 ? "" : "s", detail::format_ranges(group.cores),
                    idle, cores));
  }
  for (const auto& host : ranks_by_host(topology)) {
    const auto& locations = host.second;
    const auto crowds = [&](const RankLocation* location) {
      const auto& facts_of_rank = of(location->rank);
      const auto cores = static_cast<int64_t>(location->cores.size());
      return facts_of_rank.threads > cores && facts_of_rank.cores_of_host > cores * static_cast<int64_t>(locations.size());
    };
    if (const auto found = std::find_if(locations.begin(), locations.end(), crowds); found != locations.end())
      threads.add(
          fmt::format("[cluster] {}: rank {} computes with {} threads on {}, while others of its host are idle; give each rank as "
                      "many cores as threads (srun --cpus-per-task, mpirun --map-by slot:PE=N), or set OMP_NUM_THREADS={}",
                      (*found)->host, (*found)->rank, of((*found)->rank).threads,
                      plural(static_cast<int64_t>((*found)->cores.size()), "core"), (*found)->cores.size()));
    const auto seen = of(locations.front()->rank).devices, here = static_cast<int64_t>(locations.size());
    if (seen > 1 && seen > here)
      devices.add(fmt::format("[cluster] {}: {} and {}: {} without a rank; start one rank for each", locations.front()->host,
                              plural(here, "rank"), plural(seen, "device"), seen - here));
  }
  for (auto* warnings : {&shared, &threads, &devices}) std::move(*warnings).append_to(texts);
  return texts;
}

}  // namespace levin
