#include "levin/comm/thread_count.h"

#include <algorithm>
#include <string_view>

#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin {
namespace {

constexpr const char* omp_num_threads = "OMP_NUM_THREADS";
constexpr const char* slurm_cpus_per_task = "SLURM_CPUS_PER_TASK";

// Written by Slurm: a value that is not a positive number is not the user's.
std::optional<int64_t> cpus_per_task(const GetVariable& get_variable) {
  const char* value = get_variable(slurm_cpus_per_task);
  const auto cpus = value ? parse_number<int>(value) : std::nullopt;
  return cpus && *cpus > 0 ? std::optional<int64_t>(*cpus) : std::nullopt;
}

}  // namespace

std::optional<int64_t> threads_of_environment(const GetVariable& get_variable) {
  const char* value = get_variable(omp_num_threads);
  if (!value || !*value) return std::nullopt;
  const std::string_view list = value;
  const auto threads = parse_number<int>(list.substr(0, list.find(',')));
  if (!threads || *threads < 1)
    throw ConfigError(fmt::format("environment {}={} is not allowed", omp_num_threads, quote(list)), "give a positive integer, or unset it",
                      "comm");
  return *threads;
}

ThreadCount choose_threads(int64_t configured, const Topology& topology, const GetVariable& get_variable) {
  if (configured > 0) return {configured, "num_threads"};
  if (const auto threads = threads_of_environment(get_variable)) return {*threads, fmt::format("{}={}", omp_num_threads, *threads)};
  const auto& self = topology.self();
  const auto ranks = std::max<int64_t>(
      1, std::count_if(topology.locations().begin(), topology.locations().end(),
                       [&](const RankLocation& location) { return location.host == self.host && location.cores == self.cores; }));
  const auto cores = static_cast<int64_t>(self.cores.size());
  if (const auto cpus = cpus_per_task(get_variable)) {
    const bool fit = *cpus <= cores || cores == 0;
    return {fit ? *cpus : cores,
            fmt::format("{}={}{}", slurm_cpus_per_task, *cpus, fit ? "" : fmt::format(" on {} core{}", cores, cores == 1 ? "" : "s"))};
  }
  return {std::max<int64_t>(1, cores / ranks),
          fmt::format("{} core{} for {} rank{}", cores, cores == 1 ? "" : "s", ranks, ranks == 1 ? "" : "s")};
}

}  // namespace levin
