#pragma once
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "levin/cluster/batch_job.h"
#include "levin/cluster/deadline.h"
#include "levin/cluster/job_config.h"
#include "levin/core/log.h"
#include "levin/session/stop_agreement.h"

namespace levin {

/// The stop source of a job: signals on every rank, the deadline on rank 0. The ranks' agreement makes either a stop of all.
///
///     JobWatch watch(config, detect_batch_job(variable), rank, started, log);
///     session.add_stop_source([&] { return watch.reason(slowest_save); });
class JobWatch {
 public:
  /// On rank 0 starts to look for the deadline. `started`: of the program.
  JobWatch(const JobConfig& config, BatchJob job, int rank, Deadline::Clock::time_point started, const Log& log);

  /// On rank 0 with the restart count that only the batch system's answer has, once it has come.
  BatchJob job() const;
  /// A StopAgreement::StopSource, up to the seconds of the slowest save so far, or an estimate.
  std::optional<StopReason> reason(double save_seconds) noexcept;

  /// Why this rank asked for a stop, as bits; to be or-ed over ranks.
  int64_t causes() const noexcept;
  /// Whether TERM came after a signal that asks for a restart.
  static bool announced_end(int64_t causes) noexcept;
  /// "SIGUSR1", "the job's time limit"; empty: neither.
  static std::string describe(int64_t causes);
  /// Of the job, on rank 0; null: unknown.
  std::optional<double> seconds_left() const noexcept { return deadline_.seconds_left(); }
  /// The time that the stop by the deadline keeps.
  double seconds_needed() const noexcept { return clock_.seconds_needed(); }

 private:
  static constexpr int64_t unknown = -1;
  Deadline::Ask question(const Log& log);

  BatchJob job_;
  std::atomic<int64_t> restart_count_{unknown};  // of the answer
  StopClock clock_;
  bool watches_clock_, time_is_over_ = false;
  Deadline deadline_;
};

}  // namespace levin
