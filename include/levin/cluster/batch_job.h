#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "levin/core/environment.h"

namespace levin {

enum class BatchSystem { none, slurm, pbs, lsf, flux };
const char* batch_system_name(BatchSystem system) noexcept;

/// The job of a batch system in which this process runs, from the variables that the system sets: Slurm (SLURM_*), OpenPBS, PBS Pro and
/// Torque (PBS_*), LSF (LSB_*), Flux (FLUX_*). Ranks and their numbers come from MPI alone.
struct BatchJob {
  BatchSystem system = BatchSystem::none;
  std::string id = {};         ///< as the system's commands take it; of an array's task with its index: 12_3
  std::string unique_id = {};  ///< differs between all jobs and tasks of arrays; equal after a requeue
  std::optional<int64_t> array_index = {};
  int64_t restart_count = 0;               ///< how often the system has restarted this job; of PBS see JobWatch
  bool interactive = false;                ///< without a batch script, as far as the variables tell
  std::optional<int64_t> end_time = {};    ///< in seconds since 1970, where the environment has it (SLURM_JOB_END_TIME)
  std::optional<int64_t> time_limit = {};  ///< in seconds from the job's start, where the environment has it (PBS_WALLTIME)

  bool exists() const noexcept { return system != BatchSystem::none; }
  /// "Slurm job 12_3"
  std::string describe() const;
};

/// Reads the variables of the batch system. An empty variable counts as unset, an invalid number is left out.
BatchJob detect_batch_job(const GetVariable& get_variable);

}  // namespace levin
