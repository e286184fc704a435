#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "levin/cluster/batch_job.h"
#include "levin/core/log.h"
#include "levin/core/seconds.h"

namespace levin {

/// When a job must have ended, by the clock of this process; a change of the system's clock moves nothing.
struct TimeLeft {
  double seconds = 0;       ///< from the moment of the answer; infinity: no limit
  std::string source = {};  ///< "SLURM_JOB_END_TIME", "squeue"
};

/// What a batch system says about the time left of a job: Slurm by SLURM_JOB_END_TIME or squeue, PBS by qstat or PBS_WALLTIME. Nothing if
/// it does not answer, or for LSF, Flux and no system; `problem` then says why. May take a minute: squeue and qstat are waited for.
/// `restart_count` is set where the answer has it, with or without a limit: qstat's run_count less the first run.
std::optional<TimeLeft> ask_time_left(const BatchJob& job, const std::stop_token& stop, std::string& problem,
                                      std::optional<int64_t>* restart_count = nullptr);

/// The end of a job, found by one rank in a thread, so that a slow or missing scheduler delays nothing.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;
  using Ask = std::function<std::optional<TimeLeft>(const std::stop_token&, std::string& problem)>;

  /// No deadline.
  Deadline() = default;
  /// Asks at once, and after each of `pauses` as long as no answer has come. `time_limit` counts from `started`; the earlier end of the two
  /// is the deadline. Logs what it found.
  Deadline(Ask ask, std::optional<Seconds> time_limit, Clock::time_point started, Log log,
           std::vector<std::chrono::milliseconds> pauses = {std::chrono::seconds(5), std::chrono::seconds(60)});

  /// Null while none is known. Any thread.
  std::optional<Clock::time_point> get() const noexcept;
  std::optional<double> seconds_left(Clock::time_point now = Clock::now()) const noexcept;

 private:
  void set_earlier(Clock::time_point end) noexcept;
  void find(const std::stop_token& stop, const Ask& ask, const Log& log, const std::vector<std::chrono::milliseconds>& pauses);

  static constexpr Clock::rep unknown = Clock::duration::max().count();
  std::atomic<Clock::rep> end_{unknown};
  std::jthread thread_;
};

/// Tells when the time left is only enough for the step under way, the next one, and a save. Called by one thread, at every agreement of
/// the ranks.
class StopClock {
 public:
  using Clock = Deadline::Clock;
  /// Keeps `margin` times the duration of a save, and `reserve`.
  StopClock(double margin, Seconds reserve) : margin_(margin), reserve_(reserve.value) {}

  /// `save_seconds`: the slowest save so far, or an estimate. Without a deadline only the durations of steps are noted.
  bool must_stop(Clock::time_point now, std::optional<Clock::time_point> deadline, double save_seconds) noexcept;
  /// The time to keep; that of the newest call.
  double seconds_needed() const noexcept { return needed_; }

 private:
  double margin_, reserve_, needed_ = 0;
  std::optional<Clock::time_point> before_, window_began_;
  double longest_ = 0, longest_before_ = 0;  // between two calls, in this window of time and the one before
};

}  // namespace levin
