#pragma once
#include <functional>
#include <optional>
#include <string>

namespace levin {

/// Value of an environment variable, or null: std::getenv fits. The library itself does not read the launcher's variables.
using GetVariable = std::function<const char*(const char*)>;

/// Whether mpirun, srun, PALS, Flux or another launcher started this process as a rank. A batch script itself is not a rank.
bool started_by_launcher(const GetVariable& get_variable);

/// This process's rank according to the launcher; null without a launcher, or if it sets no rank.
std::optional<int> launcher_rank(const GetVariable& get_variable);

/// Compares the ranks that MPI sees with those that the launcher started. ConfigError, naming both sides, when MPI sees one rank and the
/// launcher (OMPI_COMM_WORLD_SIZE, PMI_SIZE, PALS_*, FLUX_JOB_SIZE, SLURM_STEP_NUM_TASKS) started several: the program was built with
/// another MPI, and every rank would train alone. Returns a warning if there are fewer ranks than tasks in the allocation (SLURM_NTASKS),
/// else an empty text.
std::string check_launcher(int mpi_size, const GetVariable& get_variable);

}  // namespace levin
