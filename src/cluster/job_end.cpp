#include "levin/cluster/job_end.h"

#include <algorithm>

#include "command.h"
#include "levin/core/error.h"
#include "scheduler_text.h"

namespace levin {
namespace {

using namespace std::chrono_literals;

constexpr int terminated_code = 143;
constexpr size_t most_without_progress = 3;
// The time left at which a batch system's TERM is that of the time limit.
constexpr double limit_near_seconds = 60;

// Steps that start with --export=NONE lack SLURM_RESTART_COUNT; a running job has not been requeued, whatever it says.
JobFate fate_of(const detail::SlurmJobState& job, int64_t restart_count) {
  if (job.restarts > restart_count && job.state != "RUNNING") return JobFate::requeued;
  if (job.preempted) return JobFate::preempted;
  if (job.state == "CANCELLED") return JobFate::cancelled;
  if (job.timed_out) return JobFate::timed_out;
  return job.state == "RUNNING" || job.state == "COMPLETING" ? JobFate::running : JobFate::unknown;
}

// Whether the batch system ended the job, and not its user.
bool ended_by_system(const StopFacts& facts, const JobStatus& status) {
  if (status.fate == JobFate::timed_out || status.fate == JobFate::preempted || status.fate == JobFate::requeued) return true;
  if (facts.announced) return true;  // sbatch --signal=USR1@90, where neither the limit nor Slurm's view of the job is known
  return facts.seconds_left && *facts.seconds_left <= std::max(limit_near_seconds, facts.seconds_needed);
}

// Attempts right before this one that were to be started again, or were killed.
std::vector<EarlierAttempt> restarted_attempts(const StopFacts& facts, const JobConfig& config) {
  const auto& all = facts.earlier;
  const auto ended = std::find_if(all.rbegin(), all.rend(), [&](const EarlierAttempt& attempt) {
    return attempt.exit_code && *attempt.exit_code != config.stop_exit_code &&
           *attempt.exit_code != static_cast<int>(ExitCode::stopped_early);
  });
  return {ended.base(), all.end()};
}

bool makes_no_progress(const StopFacts& facts, const std::vector<EarlierAttempt>& restarted) {
  if (facts.last_step > facts.first_step || restarted.size() + 1 < most_without_progress) return false;
  return std::all_of(restarted.end() - (most_without_progress - 1), restarted.end(),
                     [&](const EarlierAttempt& attempt) { return attempt.first_step == facts.first_step; });
}

// Why the job is not requeued by Levin; empty: it is.
std::string reason_against_requeue(const StopFacts& facts, const JobConfig& config, const BatchJob& job, const JobStatus& status) {
  if (config.requeue == Requeue::exit_code || config.requeue == Requeue::none)
    return fmt::format("--job.requeue {}", enum_name(config.requeue));
  if (job.system != BatchSystem::slurm) return "it is not a job of Slurm";
  if (!facts.named) return "a restart would begin a new run; give --run_name or --run_dir";
  if (!status.may_requeue) return "Slurm requeues batch jobs only, and none that was submitted with --no-requeue";
  return {};
}

}  // namespace

JobStatus ask_job_status(const BatchJob& job) {
  if (job.system != BatchSystem::slurm) return {.problem = "not a job of Slurm"};
  const auto answer = detail::run_command({"scontrol", "show", "job", job.id}, 10s);
  const auto state = answer.good() ? detail::slurm_job_state(answer.out) : std::nullopt;
  if (!state) return {.problem = "scontrol: " + answer.failure()};
  return {.fate = fate_of(*state, job.restart_count), .may_requeue = state->batch && state->requeue};
}

JobEnd decide_job_end(const StopFacts& facts, const JobConfig& config, const BatchJob& job, const JobStatus& status) {
  if (facts.interrupted) return {.code = static_cast<int>(ExitCode::interrupted)};
  const bool cancelled = status.fate == JobFate::cancelled;  // its TERM may arrive when all stops are decided
  if (cancelled || (facts.terminated && !ended_by_system(facts, status))) return {.code = terminated_code};
  if (!facts.resumable && facts.checkpointing)
    return {.code = static_cast<int>(ExitCode::io_failed), .note = "the state was not saved, so that the job is not started again"};
  const int for_good = static_cast<int>(ExitCode::stopped_for_good);
  if (!facts.resumable)
    return {.code = for_good, .note = "nothing was saved, so that a restart would begin again; leave --trainer.enable_checkpointing on"};
  JobEnd end{.code = static_cast<int>(config.stop_exit_code)};
  if (config.requeue == Requeue::none) return end;
  const auto restarted = restarted_attempts(facts, config);
  if (makes_no_progress(facts, restarted))
    return {
        .code = for_good,
        .note = fmt::format("{} attempts in a row ended at step {}, so that the job is not started again; give it more time, or a smaller "
                            "--job.stop_reserve",
                            most_without_progress, facts.last_step)};
  if (static_cast<int64_t>(restarted.size()) >= config.max_restarts)
    return {.code = for_good,
            .note = fmt::format("it has been restarted {} times, the most that --job.max_restarts allows; raise it to continue",
                                restarted.size())};
  if (status.fate == JobFate::requeued) return end;
  const auto against = reason_against_requeue(facts, config, job, status);
  end.requeue = against.empty();
  if (job.system == BatchSystem::slurm && !end.requeue) end.note = fmt::format("the job is not requeued: {}", against);
  return end;
}

bool requeue_job(const BatchJob& job, const Log& log) {
  const auto answer = detail::run_command({"scontrol", "requeue", job.id}, 30s);
  // Slurm ends the steps of a job that it requeues, at times before scontrol, which is part of one, has its answer.
  const auto ended_by_requeue = [&] {
    if (answer.status != terminated_code) return false;
    const auto fate = ask_job_status(job).fate;
    return fate == JobFate::requeued || fate == JobFate::running;
  };
  const bool queued = answer.good() || ended_by_requeue();
  if (queued)
    log.info("[cluster] {} is queued again, for restart {}", job.describe(), job.restart_count + 1);
  else
    log.warning("[cluster] scontrol requeue {}: {}; the exit code asks for the restart", job.id, answer.failure());
  return queued;
}

}  // namespace levin
