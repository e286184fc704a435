#include "levin/cluster/job_watch.h"

#include <utility>

#include "levin/cluster/stop_signals.h"

namespace levin {
namespace {

constexpr int64_t clock_cause = int64_t{1} << 32;  // above the signals
uint32_t signals_of(int64_t causes) noexcept { return static_cast<uint32_t>(causes & (clock_cause - 1)); }

}  // namespace

JobWatch::JobWatch(const JobConfig& config, BatchJob job, int rank, Deadline::Clock::time_point started, const Log& log)
    : job_(std::move(job)),
      clock_(config.stop_margin, config.stop_reserve),
      watches_clock_(rank == 0),
      deadline_(rank == 0 ? question(log) : nullptr, config.time_limit, started, log) {
  if (job_.exists())
    log.info("[cluster] {}{}", job_.describe(), job_.restart_count > 0 ? fmt::format(", restart {}", job_.restart_count) : "");
}

Deadline::Ask JobWatch::question(const Log& log) {
  if (job_.system != BatchSystem::slurm && job_.system != BatchSystem::pbs) return nullptr;
  return [this, log](const std::stop_token& stop, std::string& problem) {
    std::optional<int64_t> restart_count;
    auto left = ask_time_left(job_, stop, problem, &restart_count);
    if (restart_count && restart_count_.exchange(*restart_count) != *restart_count && *restart_count > 0)
      log.info("[cluster] {}, restart {} (qstat)", job_.describe(), *restart_count);
    return left;
  };
}

BatchJob JobWatch::job() const {
  BatchJob job = job_;
  if (const int64_t answered = restart_count_; answered != unknown) job.restart_count = answered;
  return job;
}

std::optional<StopReason> JobWatch::reason(double save_seconds) noexcept {
  if (watches_clock_ && clock_.must_stop(Deadline::Clock::now(), deadline_.get(), save_seconds)) time_is_over_ = true;
  if (const auto reason = StopSignals::reason()) return reason;
  return time_is_over_ ? std::optional(StopReason::restart) : std::nullopt;
}

int64_t JobWatch::causes() const noexcept { return static_cast<int64_t>(StopSignals::arrived()) | (time_is_over_ ? clock_cause : 0); }

bool JobWatch::announced_end(int64_t causes) noexcept { return StopSignals::announced_end(signals_of(causes)); }

std::string JobWatch::describe(int64_t causes) {
  auto names = StopSignals::names(signals_of(causes));
  if (causes & clock_cause) names += (names.empty() ? "" : ", ") + std::string("the job's time limit");
  return names;
}

}  // namespace levin
