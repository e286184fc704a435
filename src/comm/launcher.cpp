#include "levin/comm/launcher.h"

#include <mpi.h>

#include <charconv>
#include <cstring>
#include <optional>

#include "levin/core/error.h"

namespace levin {
namespace {

std::optional<int> number_of(const GetVariable& get_variable, const char* name) {
  const char* text = get_variable(name);
  if (!text) return std::nullopt;
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto result = std::from_chars(text, end, value);
  return result.ec == std::errc() && result.ptr == end ? std::optional(value) : std::nullopt;
}

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

}  // namespace

std::string check_launcher(int mpi_size, const GetVariable& get_variable) {
  if (mpi_size == 1) {
    const auto refuse = [](const char* name, int value, const std::string& meant) {
      throw ConfigError(
          fmt::format("{}={}: the launcher meant {}, but this program's MPI ({}) sees one rank alone", name, value, meant, mpi_library()),
          "start it with the launcher of the MPI that it was built with, or build it with the launcher's MPI "
          "(under Slurm: try srun --mpi=pmix or --mpi=pmi2)",
          "comm");
    };
    bool said_one = false;
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PALS_LOCAL_SIZE", "FLUX_JOB_SIZE"})
      if (const auto ranks = number_of(get_variable, name)) {
        if (*ranks > 1) refuse(name, *ranks, fmt::format("{} ranks", *ranks));
        said_one = true;
      }
    // PALS and PMIx tell a rank its own number, not how many there are.
    for (const char* name : {"PALS_RANKID", "PMIX_RANK"})
      if (const auto rank = number_of(get_variable, name); rank && *rank > 0)
        refuse(name, *rank, fmt::format("at least {} ranks", *rank + 1));
    // mpirun starts its daemons by srun: what Slurm says counts only where no nearer launcher has spoken.
    if (const auto tasks = number_of(get_variable, "SLURM_STEP_NUM_TASKS"); tasks && *tasks > 1 && !said_one)
      refuse("SLURM_STEP_NUM_TASKS", *tasks, fmt::format("{} ranks", *tasks));
  }
  if (const auto tasks = number_of(get_variable, "SLURM_NTASKS"); tasks && mpi_size < *tasks)
    return fmt::format("{} rank{} on an allocation of {} tasks (SLURM_NTASKS): the rest of it stays idle", mpi_size,
                       mpi_size == 1 ? "" : "s", *tasks);
  return {};
}

}  // namespace levin
