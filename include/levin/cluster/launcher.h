#pragma once
#include <optional>
#include <string>

#include "levin/core/environment.h"

namespace levin {

/// Whether mpirun, srun, PALS, Flux or another launcher started this process as a rank. A batch script is not a rank, nor is the shell of
/// `srun --pty` or `salloc`.
bool started_by_launcher(const GetVariable& get_variable);

/// This process's rank according to the launcher; null without a launcher, or if it sets no rank.
std::optional<int> launcher_rank(const GetVariable& get_variable);

/// Compares the ranks that MPI sees with those that the launcher started. ConfigError, naming both sides, when MPI sees one rank and the
/// launcher (OMPI_COMM_WORLD_SIZE, PMI_SIZE, PALS_*, FLUX_JOB_SIZE, SLURM_STEP_NUM_TASKS) started several: the program was built with
/// another MPI, and every rank would train alone. One rank is right where the nearest launcher started one (mpirun -n 1 in a task of
/// another launcher), and in an interactive shell. Returns a warning if there are fewer ranks than tasks in the allocation (SLURM_NTASKS),
/// else an empty text.
std::string check_launcher(int mpi_size, const GetVariable& get_variable);

/// The launchers whose variables this process has, nearest first: "mpirun of Open MPI (OMPI_COMM_WORLD_SIZE=4), srun
/// (SLURM_STEP_NUM_TASKS=2)"; empty: none.
std::string describe_launchers(const GetVariable& get_variable);

/// Name and version of the MPI library: "Open MPI v4.1.4".
std::string mpi_library();

}  // namespace levin
