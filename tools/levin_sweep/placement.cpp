#include "placement.h"

#include <fmt/format.h>
#include <hwloc.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>

#include "../../src/cluster/command.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin::sweep {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

// Those that this process may use; of a core with several hardware threads, one.
int64_t cores_of_this_host() {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return 1;
  const std::unique_ptr<hwloc_topology, void (*)(hwloc_topology_t)> owner(topology, hwloc_topology_destroy);
  const std::unique_ptr<hwloc_bitmap_s, void (*)(hwloc_bitmap_t)> usable(hwloc_bitmap_alloc(), hwloc_bitmap_free);
  if (hwloc_topology_load(topology) != 0 || hwloc_get_cpubind(topology, usable.get(), HWLOC_CPUBIND_PROCESS) != 0) return 1;
  int64_t cores = 0;
  for (hwloc_obj_t core = nullptr; (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core));)
    cores += hwloc_bitmap_intersects(core->cpuset, usable.get());
  return std::max<int64_t>(1, cores);
}

Words split(const std::string& text) {
  std::istringstream in(text);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string text_of(const GetVariable& get_variable, const char* name) {
  const char* text = get_variable(name);
  return text ? text : "";
}

std::vector<Host> hosts_of_slurm(const GetVariable& get_variable, bool names_needed) {
  const auto tasks = text_of(get_variable, "SLURM_TASKS_PER_NODE");
  const auto slots = slurm_slots(tasks);
  if (!slots) throw ConfigError(fmt::format("SLURM_TASKS_PER_NODE is {}", quote(tasks)), "give the job --ntasks", "sweep");
  Words names(slots->size());
  if (names_needed) {
    const auto answer = levin::detail::run_command({"scontrol", "show", "hostnames", text_of(get_variable, "SLURM_JOB_NODELIST")}, 10s);
    if (!answer.good()) throw ConfigError("scontrol show hostnames: " + answer.failure(), "use srun as the launcher", "sweep");
    names = split(answer.out);
    if (names.size() != slots->size())
      throw ConfigError(fmt::format("the job has {} hosts, SLURM_TASKS_PER_NODE speaks of {}", names.size(), slots->size()), "use srun",
                        "sweep");
  }
  std::vector<Host> hosts;
  for (size_t i = 0; i < slots->size(); i++) hosts.push_back({names[i], (*slots)[i], 0});
  return hosts;
}

// A line for each rank that a host holds.
std::vector<Host> hosts_of_pbs(const std::string& file) {
  std::ifstream in(file);
  std::vector<Host> hosts;
  for (std::string name; std::getline(in, name);) {
    if (name.empty()) continue;
    auto host = std::find_if(hosts.begin(), hosts.end(), [&](const Host& known) { return known.name == name; });
    if (host == hosts.end()) host = hosts.insert(hosts.end(), {name, 0, 0});
    host->slots++;
  }
  if (hosts.empty()) throw ConfigError(fmt::format("PBS_NODEFILE, {}, names no host", file), "run levin-sweep in the job", "sweep");
  return hosts;
}

}  // namespace

std::optional<std::vector<int64_t>> slurm_slots(std::string_view text) {
  std::vector<int64_t> slots;
  while (!text.empty()) {
    const auto comma = text.find(',');
    auto part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    int64_t times = 1;
    if (const auto at = part.find("(x"); at != std::string_view::npos && part.ends_with(')')) {
      times = parse_number<int64_t>(part.substr(at + 2, part.size() - at - 3)).value_or(0);
      part = part.substr(0, at);
    }
    const auto count = parse_number<int64_t>(part);
    if (!count || *count < 1 || times < 1 || times > 1'000'000) return std::nullopt;
    slots.insert(slots.end(), static_cast<size_t>(times), *count);
  }
  if (slots.empty()) return std::nullopt;
  return slots;
}

std::vector<Group> divide_hosts(const std::vector<Host>& hosts, int64_t ranks) {
  std::vector<Group> groups;
  for (const auto& host : hosts)
    for (int64_t first = 0; first + ranks <= host.slots; first += ranks)
      groups.push_back({{{host.name, ranks, host.cores * ranks / host.slots}}, first, ranks == host.slots});
  if (!groups.empty()) return groups;
  const int64_t slots = hosts.empty() ? 0 : hosts.front().slots;
  const bool equal = std::all_of(hosts.begin(), hosts.end(), [&](const Host& host) { return host.slots == slots; });
  const size_t needed = slots > 0 ? static_cast<size_t>(ranks / slots) : 0;
  if (!equal || slots == 0 || ranks % slots != 0 || needed > hosts.size()) {
    std::vector<std::string> each;
    std::transform(hosts.begin(), hosts.end(), std::back_inserter(each), [](const Host& host) { return std::to_string(host.slots); });
    throw ConfigError(fmt::format("{} ranks fit into no host and fill no hosts: these hold {}", ranks, joined(each)),
                      "set ranks to what a host holds, a part of it, or a multiple", "sweep");
  }
  for (size_t first = 0; first + needed <= hosts.size(); first += needed)
    groups.push_back({std::vector<Host>(hosts.begin() + static_cast<std::ptrdiff_t>(first),
                                        hosts.begin() + static_cast<std::ptrdiff_t>(first + needed))});
  return groups;
}

Launcher::Launcher(const SweepConfig& config, const GetVariable& get_variable)
    : ranks_(config.ranks), get_variable_(get_variable), launcher_(config.launcher) {
  const bool slurm = get_variable("SLURM_JOB_ID");
  if (launcher_.empty()) launcher_ = split(text_of(get_variable, "LEVIN_LAUNCH"));
  if (launcher_.empty()) launcher_ = {slurm ? "srun" : "mpirun"};
  const auto name = std::filesystem::path(launcher_.front()).filename().string();
  srun_ = name == "srun";
  if (!srun_ && name != "mpirun")
    throw ConfigError(fmt::format("the launcher is {}", quote(launcher_.front())), "use srun, or the mpirun of Open MPI", "sweep");
  if (srun_ && !slurm) throw ConfigError("the launcher is srun, and this is no Slurm job", "submit it with sbatch, or use mpirun", "sweep");
  std::vector<Host> hosts;
  if (slurm)
    hosts = hosts_of_slurm(get_variable, !srun_);
  else if (const char* file = get_variable("PBS_NODEFILE"))
    hosts = hosts_of_pbs(file);
  else
    hosts = {{"localhost", cores_of_this_host(), 0}};
  const auto least_slots = [&] {
    return std::min_element(hosts.begin(), hosts.end(), [](const Host& a, const Host& b) { return a.slots < b.slots; })->slots;
  };
  tasks_ = least_slots();
  for (auto& host : hosts) {
    host.cores = cores_of_this_host();  // hosts of an allocation are alike
    if (config.slots_per_node > 0) host.slots = config.slots_per_node;
  }
  slots_ = least_slots();
  groups_ = divide_hosts(hosts, ranks_);
  if (config.parallel > 0) groups_.resize(std::min(groups_.size(), static_cast<size_t>(config.parallel)));
}

Words Launcher::words(const Group& group) const { return srun_ ? srun_words(group) : mpirun_words(group); }

// Slurm finds the cores of a step. A step takes the memory and the GPUs of the whole job where it does not say how much of them it needs,
// and the next one waits.
Words Launcher::srun_words(const Group& group) const {
  auto words = launcher_;
  words.insert(words.end(), {"--exact", fmt::format("--ntasks={}", ranks_), fmt::format("--nodes={}", group.hosts.size())});
  const auto number = [&](const char* name) { return parse_number<int64_t>(text_of(get_variable_, name)).value_or(0); };
  if (const auto cores = number("SLURM_CPUS_PER_TASK"); cores > 0)
    words.push_back(fmt::format("--cpus-per-task={}", std::max<int64_t>(1, cores * tasks_ / slots_)));
  if (group.whole) return words;
  const int64_t parts = std::max<int64_t>(1, slots_ / ranks_);
  if (const auto memory = number("SLURM_MEM_PER_NODE"); memory > 0)  // MiB
    words.push_back(fmt::format("--mem={}M", std::max<int64_t>(1, memory / parts)));
  if (const auto gpus = number("SLURM_GPUS_ON_NODE"); gpus >= parts) words.push_back(fmt::format("--gpus-per-node={}", gpus / parts));
  return words;
}

// Several mpiruns on a host bind their ranks to the same first cores where nobody divides them.
Words Launcher::mpirun_words(const Group& group) const {
  auto words = launcher_;
  Words hosts;
  for (const auto& host : group.hosts) hosts.push_back(fmt::format("{}:{}", host.name, host.slots));
  words.insert(words.end(), {"-n", std::to_string(ranks_), "--host", fmt::format("{}", fmt::join(hosts, ","))});
  const auto& host = group.hosts.front();
  const int64_t each = host.cores / host.slots;
  if (group.whole || each == 0) {
    words.insert(words.end(), {"--bind-to", "none"});
    return words;
  }
  const int64_t first = group.first_slot * each;
  // Of a list Open MPI gives each rank one core, or all of them to all ranks.
  words.insert(words.end(), {"--cpu-set", fmt::format("{}-{}", first, first + each * host.slots - 1), "--bind-to",
                             each == 1 ? "cpulist:ordered" : "cpu-list"});
  return words;
}

}  // namespace levin::sweep
