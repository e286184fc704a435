#pragma once
// What the commands of batch systems print. Text that is not exactly of the expected form gives nothing.
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

namespace levin::detail {

/// `squeue -o %L` or %l: [D-]HH:MM:SS, H:MM:SS or MM:SS in seconds; UNLIMITED is infinity. Nothing for INVALID (past the limit) and
/// NOT_SET.
std::optional<double> slurm_seconds(std::string_view text);

/// A part of `scontrol show job`.
struct SlurmJobState {
  std::string state;       ///< RUNNING, CANCELLED, TIMEOUT, PREEMPTED, …; COMPLETING until its processes have ended
  bool timed_out = false;  ///< its time limit or its deadline has ended it
  bool preempted = false;  ///< in its grace time, or ended for another job
  int64_t restarts = 0;    ///< rises with the requeue, before the processes end
  bool batch = true;       ///< has a script that a requeue can start again
  bool requeue = true;     ///< may be requeued
};
std::optional<SlurmJobState> slurm_job_state(std::string_view show_job);

/// A part of `qstat -f -F json JOB`.
struct PbsJobTimes {
  std::optional<double> walltime;    ///< Resource_List.walltime, seconds
  std::optional<std::time_t> start;  ///< stime
  std::optional<int64_t> run_count;  ///< 1 in the first run
};
/// The job of this id; nothing for text that is not its record.
std::optional<PbsJobTimes> pbs_job_times(const std::string& json, std::string_view id);

}  // namespace levin::detail
