#include "levin/cluster/core_binding.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <thread>

#include "levin/comm/topology.h"
#include "levin_test.h"

using levin::BatchJob;
using levin::BatchSystem;
using levin::divide_cores;
using levin::Topology;
using levin::test::runtime;

BOOST_AUTO_TEST_SUITE(cluster_core_binding)

namespace {

using Variables = std::map<std::string, std::string>;

levin::GetVariable variables_of(const Variables& variables) {
  return [variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  };
}

const BatchJob slurm_job{.system = BatchSystem::slurm, .id = "7"};
const Variables whole_host{{"SLURM_CPUS_ON_NODE", "100000"}};

std::string shares(const std::vector<int>& domains, int ranks) {
  std::string text;
  for (const auto& share : divide_cores(domains, ranks)) text += fmt::format("{}+{} ", share.first, share.count);
  return text;
}

void set_affinity_of_all_threads(const cpu_set_t& cpus) {
  DIR* threads = opendir("/proc/self/task");
  while (const dirent* entry = readdir(threads))
    if (const int id = std::atoi(entry->d_name); id > 0) sched_setaffinity(id, sizeof(cpus), &cpus);
  closedir(threads);
}

/// The affinity of before, for all threads.
struct AffinityGuard {
  AffinityGuard() { sched_getaffinity(0, sizeof(before), &before); }
  ~AffinityGuard() { set_affinity_of_all_threads(before); }
  AffinityGuard(const AffinityGuard&) = delete;
  AffinityGuard& operator=(const AffinityGuard&) = delete;

  /// This process alone.
  void use_first_core() const {
    cpu_set_t single;
    CPU_ZERO(&single);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&single) == 0; cpu++)
      if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &single);
    set_affinity_of_all_threads(single);
  }
  cpu_set_t before{};
};

size_t processors_of_new_thread() {
  cpu_set_t cpus;
  std::thread([&] { sched_getaffinity(0, sizeof(cpus), &cpus); }).join();
  return static_cast<size_t>(CPU_COUNT(&cpus));
}

std::string bind_in(const BatchJob& job, const Variables& variables) { return levin::bind_ranks(runtime(), job, variables_of(variables)); }

}  // namespace

BOOST_AUTO_TEST_CASE(shares_are_equal_and_keep_to_a_domain) {
  BOOST_TEST(shares({0, 0, 0, 0}, 2) == "0+2 2+2 ");
  BOOST_TEST(shares({0, 0, 0, 0}, 3) == "0+1 1+1 2+1 ");
  BOOST_TEST(shares({0, 0, 0, 0}, 1) == "0+4 ");
  BOOST_TEST(shares({0, 0, 0, 0, 0, 1, 1, 1, 1, 1}, 4) == "0+2 2+2 5+2 7+2 ");
  BOOST_TEST(shares({0, 0, 0, 0, 1, 1, 1, 1}, 8) == "0+1 1+1 2+1 3+1 4+1 5+1 6+1 7+1 ");
  BOOST_TEST(shares({0, 0, 0, 0, 1, 1, 1, 1}, 3) == "0+2 2+2 4+2 ");  // three ranks do not divide evenly
  BOOST_TEST(shares({0, 0, 0, 1, 1, 1, 1, 1}, 2) == "0+4 4+4 ");      // nor do these domains
  BOOST_TEST(shares({0, 1, 0, 1}, 2) == "0+2 2+2 ");                  // nor these
  BOOST_TEST(shares({0, 0}, 3).empty());
  BOOST_TEST(shares({}, 1).empty());
}

BOOST_AUTO_TEST_CASE(processors_that_the_batch_system_gave) {
  const auto given = [](BatchSystem system, const Variables& variables) {
    return levin::processors_of_job({.system = system, .id = "7"}, variables_of(variables)).value_or(0);
  };
  BOOST_TEST(given(BatchSystem::slurm, {{"SLURM_CPUS_ON_NODE", "16"}}) == 16);
  BOOST_TEST(given(BatchSystem::slurm, {{"NCPUS", "16"}}) == 0);
  BOOST_TEST(given(BatchSystem::slurm, {{"SLURM_CPUS_ON_NODE", "16(x2)"}}) == 0);
  BOOST_TEST(given(BatchSystem::pbs, {{"NCPUS", "8"}}) == 8);
  BOOST_TEST(given(BatchSystem::pbs, {{"PBS_NUM_PPN", "4"}}) == 4);
  BOOST_TEST(given(BatchSystem::lsf, {{"NCPUS", "8"}}) == 0);
  BOOST_TEST(given(BatchSystem::none, {{"SLURM_CPUS_ON_NODE", "16"}}) == 0);
}

BOOST_AUTO_TEST_CASE(ranks_without_a_binding_get_their_share) {
  const AffinityGuard guard;
  const auto before = Topology::discover(runtime());
  const auto cores = before.self().cores.size(), ranks = static_cast<size_t>(before.local_size());
  const auto said = bind_in(slurm_job, whole_host);
  const auto after = Topology::discover(runtime());
  if (ranks == 1 || cores < ranks) {
    BOOST_TEST(said == "");
    BOOST_TEST(after.self().cores == before.self().cores, boost::test_tools::per_element());
    return;
  }
  BOOST_TEST(said ==
             fmt::format("{} ranks of a host bound to {} core{} each, of {}", ranks, cores / ranks, cores / ranks == 1 ? "" : "s", cores));
  BOOST_TEST(after.self().cores.size() == cores / ranks);
  BOOST_TEST(processors_of_new_thread() < static_cast<size_t>(CPU_COUNT(&guard.before)));
  for (const auto& other : after.locations()) {
    if (other.rank == runtime().rank() || other.host != after.self().host) continue;
    for (const int core : other.cores)
      BOOST_TEST((std::find(after.self().cores.begin(), after.self().cores.end(), core) == after.self().cores.end()));
  }
}

BOOST_AUTO_TEST_CASE(what_is_left_as_it_is) {
  const AffinityGuard guard;
  const auto before = Topology::discover(runtime()).describe();
  BOOST_TEST(bind_in({}, whole_host) == "");  // who else uses this machine?
  BOOST_TEST(bind_in(slurm_job, {}) == "");   // nobody says
  BOOST_TEST(bind_in(slurm_job, {{"SLURM_CPUS_ON_NODE", "1"}}) == "");
  for (const auto& [name, value] : Variables{{"OMP_PROC_BIND", "close"}, {"OMP_PLACES", "cores"}, {"GOMP_CPU_AFFINITY", "0-3"}}) {
    auto variables = whole_host;
    variables[name] = value;
    BOOST_TEST(bind_in(slurm_job, variables) == "");
  }
  // The ranks of a host do the same.
  BOOST_TEST(bind_in(slurm_job, runtime().rank() == 0 ? Variables() : whole_host) == "");
  BOOST_TEST(Topology::discover(runtime()).describe() == before);
}

BOOST_AUTO_TEST_CASE(ranks_that_the_launcher_has_bound) {
  const AffinityGuard guard;
  if (CPU_COUNT(&guard.before) == 1) return;
  if (runtime().rank() == 0) guard.use_first_core();
  const auto before = Topology::discover(runtime());
  BOOST_TEST(bind_in(slurm_job, whole_host) == "");
  BOOST_TEST(Topology::discover(runtime()).describe() == before.describe());
}

BOOST_AUTO_TEST_CASE(fewer_cores_than_ranks) {
  const Topology shared({{0, "a", 0, 0, {0}}, {1, "a", 1, 0, {0}}, {2, "a", 2, 0, {1, 2}}, {3, "b", 0, 0, {0, 1}}, {4, "b", 1, 0, {1, 2}}},
                        {0, 0, 0, 3, 3}, 0);
  const auto crowded = levin::find_crowded_cores(shared);
  BOOST_REQUIRE(crowded.size() == 1u);
  BOOST_TEST(crowded[0].host == "a");
  BOOST_TEST(crowded[0].ranks == (std::vector<int>{0, 1}), boost::test_tools::per_element());
  BOOST_TEST(crowded[0].cores == std::vector<int>{0}, boost::test_tools::per_element());
  BOOST_TEST(crowded[0].cores_in_use == 3);
  // All may use all: nothing is bound.
  BOOST_TEST(levin::find_crowded_cores({{{0, "a", 0, 0, {0, 1}}, {1, "a", 1, 0, {0, 1}}}, {0, 0}, 0}).empty());
  // A chain of overlaps, three ranks on two cores.
  BOOST_TEST(
      levin::find_crowded_cores({{{0, "a", 0, 0, {0}}, {1, "a", 1, 0, {1}}, {2, "a", 2, 0, {0, 1}}}, {0, 0, 0}, 0})[0].ranks.size() == 3u);
  // Two hosts of one name.
  BOOST_TEST(levin::find_crowded_cores({{{0, "a", 0, 0, {0}}, {1, "a", 0, 0, {0}}}, {0, 1}, 0}).empty());
}

BOOST_AUTO_TEST_CASE(warnings_are_the_same_on_all_ranks) {
  const auto communicator = levin::Communicator::create_cpu(runtime());
  const auto warnings_of = [&](const Topology& topology, int64_t threads, int64_t devices) {
    auto warnings = levin::placement_warnings(*communicator, topology, {threads, devices});
    const auto text = fmt::format("{}", fmt::join(warnings, "\n"));
    BOOST_TEST(levin::broadcast_text(*communicator, text) == text);
    return warnings;
  };
  const auto first_with = [](const std::vector<std::string>& warnings, const std::string& part) {
    const auto found =
        std::find_if(warnings.begin(), warnings.end(), [&](const auto& text) { return text.find(part) != std::string::npos; });
    return found == warnings.end() ? std::string() : *found;
  };
  const AffinityGuard guard;
  const auto before = Topology::discover(runtime());
  const auto& locations = before.locations();
  const auto ranks_on = [&](const std::string& host) {
    return std::count_if(locations.begin(), locations.end(), [&](const auto& location) { return location.host == host; });
  };
  const auto cores = static_cast<int64_t>(locations[0].cores.size());
  BOOST_TEST(warnings_of(before, 1, 0).empty());
  BOOST_TEST(warnings_of(before, 1000, 0).empty());  // no core is idle: it is what the user wants
  const auto devices = first_with(warnings_of(before, 1, 100), "100 devices");
  BOOST_TEST(devices.find(fmt::format("[cluster] {}: ", locations[0].host)) == 0u, devices);
  BOOST_TEST(warnings_of(before, 1, 1).empty());  // each rank sees its own
  if (cores == 1) return;

  guard.use_first_core();
  const auto bound = Topology::discover(runtime());
  const auto shared = first_with(warnings_of(bound, 1, 0), " share core ");
  BOOST_TEST(shared.empty() == (ranks_on(locations[0].host) == 1), shared);
  if (!shared.empty())
    for (const std::string& part :
         {fmt::format("[cluster] {}: ranks 0-{} share", locations[0].host, ranks_on(locations[0].host) - 1),
          fmt::format("while {} of {} cores are idle", cores - 1, cores), std::string("--cpu-bind=cores"), std::string("--bind-to none")})
      BOOST_TEST(shared.find(part) != std::string::npos, shared);
  const int last = runtime().size() - 1;
  const auto threads = first_with(warnings_of(bound, runtime().rank() == last ? 2 : 1, 0), "computes with");
  BOOST_TEST(threads.empty() == (cores <= ranks_on(locations.back().host)), threads);
  if (!threads.empty())
    BOOST_TEST(threads.find(fmt::format("rank {} computes with 2 threads on 1 core", last)) != std::string::npos, threads);
}

BOOST_AUTO_TEST_SUITE_END()
