#include "levin/comm/launcher.h"

#include <mpi.h>

#include <array>

#include "levin/core/error.h"
#include "levin/core/number_text.h"

namespace levin {
namespace {

/// A launcher's environment variables for the number of ranks and for this process's rank; null if it sets none.
struct Launcher {
  const char *size, *rank;
  bool rank_proves_start = true;  // false: batch scripts have it, too
};

// The innermost launcher first: mpirun starts its daemons by srun, so Slurm's variables count only without those of other launchers.
constexpr std::array<Launcher, 6> launchers{{{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                             {"PMI_SIZE", "PMI_RANK"},
                                             {nullptr, "PMIX_RANK"},
                                             {"PALS_LOCAL_SIZE", "PALS_RANKID"},
                                             {"FLUX_JOB_SIZE", "FLUX_TASK_RANK"},
                                             {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", false}}};

std::optional<int> number_of(const GetVariable& get_variable, const char* name) {
  const char* text = name ? get_variable(name) : nullptr;
  return text ? parse_number<int>(text) : std::nullopt;
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

[[noreturn]] void refuse(const char* name, int value, const std::string& ranks) {
  throw ConfigError(
      fmt::format("{}={}: the launcher started {}, but the program's MPI ({}) sees one rank", name, value, ranks, mpi_library()),
      "for one rank, start the program with mpirun -n 1 or srun -n 1; for several, use the launcher of the MPI that the program was "
      "built with (under Slurm try srun --mpi=pmix or --mpi=pmi2), or build it with the launcher's MPI",
      "comm");
}

}  // namespace

bool started_by_launcher(const GetVariable& get_variable) {
  for (const auto& launcher : launchers)
    if ((launcher.size && get_variable(launcher.size)) || (launcher.rank_proves_start && get_variable(launcher.rank))) return true;
  return false;
}

std::optional<int> launcher_rank(const GetVariable& get_variable) {
  for (const auto& launcher : launchers)
    if (const auto rank = number_of(get_variable, launcher.rank)) return rank;
  return std::nullopt;
}

std::string check_launcher(int mpi_size, const GetVariable& get_variable) {
  bool one_rank = false;
  for (const auto& launcher : launchers) {
    if (mpi_size != 1) break;
    const auto ranks = number_of(get_variable, launcher.size);
    if (ranks && *ranks > 1 && (launcher.rank_proves_start || !one_rank)) refuse(launcher.size, *ranks, fmt::format("{} ranks", *ranks));
    if (ranks) one_rank = true;
  }
  // PALS and PMIx set the rank, but not the number of ranks.
  for (const auto& launcher : launchers) {
    if (mpi_size != 1) break;
    if (const auto rank = number_of(get_variable, launcher.rank); rank && *rank > 0 && launcher.rank_proves_start)
      refuse(launcher.rank, *rank, fmt::format("at least {} ranks", *rank + 1));
  }
  if (const auto tasks = number_of(get_variable, "SLURM_NTASKS"); tasks && mpi_size < *tasks)
    return fmt::format("[comm] {} rank{} on an allocation of {} tasks (SLURM_NTASKS): the other tasks stay idle", mpi_size,
                       mpi_size == 1 ? "" : "s", *tasks);
  return {};
}

}  // namespace levin
