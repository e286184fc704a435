#pragma once
#include <functional>
#include <string>

namespace levin {

/// Value of an environment variable, or null: std::getenv fits. The library itself does not read the environment.
using GetVariable = std::function<const char*(const char*)>;

/// Compares the ranks that MPI sees with those that the launcher meant. ConfigError, naming both sides, when MPI sees one rank and the
/// launcher (OMPI_COMM_WORLD_SIZE, PMI_SIZE, PALS_*, FLUX_JOB_SIZE, SLURM_STEP_NUM_TASKS) meant several: the program was built with
/// another MPI, and every rank would train alone. Returns a warning when there are fewer ranks than the allocation has tasks
/// (SLURM_NTASKS), else an empty text.
std::string check_launcher(int mpi_size, const GetVariable& get_variable);

}  // namespace levin
