#include "levin/cluster/launcher.h"

#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "levin/core/error.h"
#include "levin/core/number_text.h"
#include "levin/core/text.h"

namespace levin {
namespace {

/// A launcher's environment variables for the number of ranks and for this process's rank; null if it sets none.
struct Launcher {
  const char *size, *rank;
  int distance;                   // of nested launchers the nearer one started this process; equal: any order
  bool rank_proves_start = true;  // false: set for a batch script, too
  const char* name = "";
};

// The innermost launcher counts: mpirun and mpiexec start their daemons by PALS, Flux or srun, whose variables they leave as they are.
constexpr std::array<Launcher, 6> launchers{{{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", 0, true, "mpirun of Open MPI"},
                                             {"PMI_SIZE", "PMI_RANK", 0, true, "a launcher with PMI"},
                                             {nullptr, "PMIX_RANK", 0, true, "a launcher with PMIx"},
                                             {"PALS_LOCAL_SIZE", "PALS_RANKID", 1, true, "mpiexec of PALS"},
                                             {"FLUX_JOB_SIZE", "FLUX_TASK_RANK", 1, true, "flux run"},
                                             {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", 2, false, "srun"}}};

std::optional<int> number_of(const GetVariable& get_variable, const char* name) {
  const char* text = name ? get_variable(name) : nullptr;
  return text ? parse_number<int>(text) : std::nullopt;
}

// The shell that srun --pty or salloc starts, and what is typed there, inherit the variables of a step of Slurm. The task itself knows its
// pid.
bool is_shell_of_step(const GetVariable& get_variable) {
  constexpr int interactive_step = -6;  // of salloc, printed without a sign
  const char* step = get_variable("SLURM_STEP_ID");
  const bool interactive =
      get_variable("SLURM_PTY_PORT") || (step && parse_number<uint32_t>(step) == static_cast<uint32_t>(interactive_step));
  return interactive && number_of(get_variable, "SLURM_TASK_PID") != getpid();
}

bool counts(const Launcher& launcher, const GetVariable& get_variable) {
  return launcher.rank_proves_start || !is_shell_of_step(get_variable);
}

[[noreturn]] void refuse(const char* name, int value, const std::string& ranks) {
  throw ConfigError(
      fmt::format("{}={}: the launcher started {}, but the program's MPI ({}) sees one rank", name, value, ranks, mpi_library()),
      "for one rank, start the program with mpirun -n 1 or srun -n 1; for several, use the launcher of the MPI that the program was "
      "built with (under Slurm try srun --mpi=pmix or --mpi=pmi2), or build it with the launcher's MPI",
      "cluster");
}

}  // namespace

bool started_by_launcher(const GetVariable& get_variable) {
  for (const auto& launcher : launchers) {
    if (!counts(launcher, get_variable)) continue;
    if ((launcher.size && get_variable(launcher.size)) || (launcher.rank_proves_start && get_variable(launcher.rank))) return true;
  }
  return false;
}

std::optional<int> launcher_rank(const GetVariable& get_variable) {
  for (const auto& launcher : launchers)
    if (const auto rank = number_of(get_variable, launcher.rank)) return rank;
  return std::nullopt;
}

std::string check_launcher(int mpi_size, const GetVariable& get_variable) {
  const auto nearest_of_one = [&] {
    int distance = std::numeric_limits<int>::max();
    for (const auto& launcher : launchers)
      if (number_of(get_variable, launcher.size) == 1) distance = std::min(distance, launcher.distance);
    return distance;
  }();
  for (const auto& launcher : launchers) {
    if (mpi_size != 1 || launcher.distance >= nearest_of_one || !counts(launcher, get_variable)) continue;
    if (const auto ranks = number_of(get_variable, launcher.size); ranks && *ranks > 1)
      refuse(launcher.size, *ranks, fmt::format("{} ranks", *ranks));
    // PALS and PMIx set the rank, but not the number of ranks.
    if (const auto rank = number_of(get_variable, launcher.rank); rank && *rank > 0 && launcher.rank_proves_start)
      refuse(launcher.rank, *rank, fmt::format("at least {} ranks", *rank + 1));
  }
  if (const auto tasks = number_of(get_variable, "SLURM_NTASKS"); tasks && mpi_size < *tasks && !is_shell_of_step(get_variable))
    return fmt::format("[cluster] {} rank{} on an allocation of {} tasks (SLURM_NTASKS): the other tasks stay idle", mpi_size,
                       mpi_size == 1 ? "" : "s", *tasks);
  return {};
}

std::string describe_launchers(const GetVariable& get_variable) {
  std::string text;
  for (const auto& launcher : launchers) {
    const char* variable = launcher.size && get_variable(launcher.size) ? launcher.size
                           : launcher.rank_proves_start                 ? launcher.rank
                                                                        : nullptr;
    const char* value = variable ? get_variable(variable) : nullptr;
    if (value && counts(launcher, get_variable))
      text += fmt::format("{}{} ({}={})", text.empty() ? "" : ", ", launcher.name, variable, value);
  }
  return sanitized(text);
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

}  // namespace levin
