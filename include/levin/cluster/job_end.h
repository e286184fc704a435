#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "levin/cluster/batch_job.h"
#include "levin/cluster/job_config.h"
#include "levin/core/log.h"

namespace levin {

/// An attempt of a run before this one, from run.json.
struct EarlierAttempt {
  int64_t first_step = 0;             ///< steps done before it
  std::optional<int> exit_code = {};  ///< null: it was killed
};

/// What the ranks agreed on about a run that a signal, the clock or stop_after_steps ended.
struct StopFacts {
  bool interrupted = false, terminated = false;  ///< any rank got INT, TERM
  bool announced = false;                        ///< any rank got TERM after USR1, USR2 or HUP
  bool resumable = true;                         ///< the next attempt resumes here: the state is committed, or was before
  bool checkpointing = true;                     ///< false: there is nothing to save to
  bool named = true;                             ///< a restart finds the same run directory
  int64_t first_step = 0, last_step = 0;         ///< of this attempt
  std::optional<double> seconds_left = {};       ///< of the job; null: unknown
  double seconds_needed = 0;                     ///< that the deadline's stop keeps
  std::vector<EarlierAttempt> earlier = {};      ///< the oldest first
};

/// How a job ends.
struct JobEnd {
  int code = 0;
  bool requeue = false;   ///< ask the batch system to start the job again
  std::string note = {};  ///< why not 75, or why no requeue; for the user, empty: nothing to say
};

/// What the batch system says about a job that ends. requeued: it has queued the job again itself.
enum class JobFate { unknown, running, cancelled, timed_out, preempted, requeued };
struct JobStatus {
  JobFate fate = JobFate::unknown;
  bool may_requeue = true;   ///< a batch job that the system lets restart
  std::string problem = {};  ///< why the system was not asked or did not answer; empty: it answered
};

/// Asks `scontrol show job`; unknown for other systems. Waits up to 10 s.
JobStatus ask_job_status(const BatchJob& job);

/// INT ends with 130. A cancelled job ends with 143 and is not requeued. So does one that got TERM, unless the batch system ends it: at its
/// time limit, for another job, or after it has announced the end by a signal that asks for a restart. These and all other stops end with
/// stop_exit_code (75). A job that would be started again ends with 77 instead when it is the third in a row without progress, or
/// max_restarts is reached. 74: the state could not be saved.
JobEnd decide_job_end(const StopFacts& facts, const JobConfig& config, const BatchJob& job, const JobStatus& status);

/// `scontrol requeue`, as the last action of a job: Slurm ends it at once. Logs the result; a request that is refused, not answered within
/// 30 s, or impossible is a warning, and the exit code then asks for the restart. True if the job is queued again.
bool requeue_job(const BatchJob& job, const Log& log);

}  // namespace levin
