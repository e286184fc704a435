#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "levin/core/config.h"
#include "levin/core/seconds.h"

namespace levin {

/// Who starts a job again that stopped early. scontrol: Levin calls `scontrol requeue`. exit_code: who reads the exit code (a job script, a
/// chain of jobs, LSF's REQUEUE_EXIT_VALUES). auto: scontrol in a batch job of Slurm that may be requeued, else exit_code. none: the user,
/// by hand.
enum class Requeue { automatic, exit_code, scontrol, none };
LEVIN_ENUM(Requeue, (automatic, "auto"), (exit_code, "exit_code"), (scontrol, "scontrol"), (none, "none"))

/// Binding of ranks to cores where the launcher has not bound them (bind_ranks).
enum class BindRanks { automatic, none };
LEVIN_ENUM(BindRanks, (automatic, "auto"), (none, "none"))

enum class StopSignal { usr1, usr2, term, hup };
LEVIN_ENUM(StopSignal, (usr1, "USR1"), (usr2, "USR2"), (term, "TERM"), (hup, "HUP"))

/// The limits of the job, and the action at its end.
struct JobConfig {
  std::optional<int64_t> stop_after_steps = {};
  std::optional<Seconds> time_limit = {};
  double stop_margin = 2;
  Seconds stop_reserve{10};
  std::vector<StopSignal> stop_signals = {StopSignal::usr1, StopSignal::usr2, StopSignal::term, StopSignal::hup};
  Requeue requeue = Requeue::automatic;
  int64_t stop_exit_code = 75;
  int64_t max_restarts = 1000;
  std::optional<Seconds> hang_timeout = Seconds{1800};
  std::optional<Seconds> straggler_interval = Seconds{60};
  BindRanks bind = BindRanks::automatic;
};
LEVIN_CONFIG(JobConfig,
             (stop_after_steps, "optimizer steps after which this attempt ends as at a time limit: with a checkpoint and exit code 75",
              at_least(1)),
             (time_limit, "the job's time limit, counted from the program's start; null: the batch system's, which a smaller one replaces",
              greater_than(Seconds{0})),
             (stop_margin, "the time kept for the last save, in times of the slowest save so far", at_least(1)),
             (stop_reserve, "the time kept for the end of the job beside the last step and save", at_least(Seconds{0})),
             (stop_signals, "signals that stop the run after the step or evaluation batch under way, with a checkpoint"),
             (requeue, "who starts a job again that stopped early: auto, exit_code, scontrol or none"),
             (stop_exit_code, "exit code of a job that stopped early and is to be started again", between(0, 255)),
             (max_restarts, "restarts after which a job that stops early ends with exit code 77", at_least(0)),
             (hang_timeout,
              "end the job with exit code 69 when a rank completes no batch and no save for this long, or four times as long before its "
              "first; the preparation of data does not count; null or 0: never",
              at_least(Seconds{0})),
             (straggler_interval, "time between two comparisons of the ranks' step times, which name slow ranks; null or 0: none",
              at_least(Seconds{0})),
             (bind,
              "bind ranks that the launcher did not bind: auto: each to its share of the cores, if the batch system gave them to this "
              "job alone; none: leave all ranks as they are"))

}  // namespace levin
