#include "levin/cluster/deadline.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <utility>

#include "command.h"
#include "process_watch.h"
#include "scheduler_text.h"

namespace levin {
namespace {

using namespace std::chrono_literals;
constexpr auto scheduler_patience = 30s;

std::optional<TimeLeft> slurm_time_left(const BatchJob& job, const std::stop_token& stop, std::string& problem) {
  if (job.end_time) {
    const double left =
        static_cast<double>(*job.end_time) - std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    if (left > 0) return TimeLeft{left, "SLURM_JOB_END_TIME"};
  }
  const auto answer = detail::run_command({"squeue", "-h", "-j", job.id, "-o", "%L"}, scheduler_patience, stop);
  const auto seconds = answer.good() ? detail::slurm_seconds(answer.out) : std::nullopt;
  if (seconds) return TimeLeft{*seconds, "squeue"};
  problem = fmt::format("squeue: {}", answer.good() ? "\"" + answer.out.substr(0, answer.out.find('\n')) + "\"" : answer.failure());
  return std::nullopt;
}

// Of the leader of this session, the job's script, in seconds; 0 where /proc does not tell.
double seconds_since_session_began() {
  std::ifstream uptime("/proc/uptime");
  const auto ticks = detail::process_start(getsid(0));
  double up = 0;
  if (!ticks || !(uptime >> up)) return 0;
  return std::max(0.0, up - static_cast<double>(*ticks) / static_cast<double>(sysconf(_SC_CLK_TCK)));
}

std::optional<TimeLeft> pbs_time_left(const BatchJob& job, const std::stop_token& stop, std::string& problem,
                                      std::optional<int64_t>* restart_count) {
  const auto answer = detail::run_command({"qstat", "-f", "-F", "json", job.id}, scheduler_patience, stop);
  const auto times = answer.good() ? detail::pbs_job_times(answer.out, job.id) : std::nullopt;
  if (times && times->run_count && restart_count) *restart_count = std::max<int64_t>(0, *times->run_count - 1);
  if (times && times->walltime && times->start)
    return TimeLeft{*times->walltime - std::difftime(std::time(nullptr), *times->start), "qstat"};
  if (job.time_limit) return TimeLeft{static_cast<double>(*job.time_limit) - seconds_since_session_began(), "PBS_WALLTIME"};
  problem = fmt::format("qstat: {}", answer.good() ? "its answer has no walltime or stime of this job" : answer.failure());
  return std::nullopt;
}

Deadline::Clock::time_point after(Deadline::Clock::time_point from, double seconds) {
  constexpr double most = 1e9;  // 30 years: no overflow
  return from + std::chrono::duration_cast<Deadline::Clock::duration>(std::chrono::duration<double>(std::min(seconds, most)));
}

std::string minutes_text(double seconds) {
  return seconds < 600 ? fmt::format("{:.0f} s", seconds) : fmt::format("{:.0f} min", seconds / 60);
}

}  // namespace

std::optional<TimeLeft> ask_time_left(const BatchJob& job, const std::stop_token& stop, std::string& problem,
                                      std::optional<int64_t>* restart_count) {
  if (job.system == BatchSystem::slurm) return slurm_time_left(job, stop, problem);
  if (job.system == BatchSystem::pbs) return pbs_time_left(job, stop, problem, restart_count);
  problem = "it is not asked for a time limit";
  return std::nullopt;
}

Deadline::Deadline(Ask ask, std::optional<Seconds> time_limit, Clock::time_point started, Log log,
                   std::vector<std::chrono::milliseconds> pauses) {
  if (time_limit) set_earlier(after(started, time_limit->value));
  if (!ask) return;
  thread_ = std::jthread([this, ask = std::move(ask), log = std::move(log), pauses = std::move(pauses)](const std::stop_token& stop) {
    find(stop, ask, log, pauses);
  });
}

void Deadline::set_earlier(Clock::time_point end) noexcept { end_ = std::min(end_.load(), end.time_since_epoch().count()); }

void Deadline::find(const std::stop_token& stop, const Ask& ask, const Log& log, const std::vector<std::chrono::milliseconds>& pauses) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::string problem;
  for (size_t attempt = 0; !stop.stop_requested(); attempt++) {
    if (const auto left = ask(stop, problem)) {
      if (std::isinf(left->seconds)) return log.info("[cluster] the job has no time limit ({})", left->source);
      set_earlier(after(Clock::now(), left->seconds));
      return log.info("[cluster] the job ends in {} ({}); the training stops before, with a checkpoint", minutes_text(left->seconds),
                      left->source);
    }
    if (attempt == pauses.size()) break;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, pauses[attempt], [] { return false; });
  }
  if (stop.stop_requested()) return;
  if (get())
    log.info("[cluster] the batch system does not tell the job's time limit ({}); --job.time_limit counts", problem);
  else
    log.warning("[cluster] the job's time limit is unknown ({}); give --job.time_limit, or let the batch system send USR1 before the end",
                problem);
}

std::optional<Deadline::Clock::time_point> Deadline::get() const noexcept {
  const auto end = end_.load(std::memory_order_relaxed);
  return end == unknown ? std::nullopt : std::optional(Clock::time_point(Clock::duration(end)));
}

std::optional<double> Deadline::seconds_left(Clock::time_point now) const noexcept {
  const auto end = get();
  return end ? std::optional(std::chrono::duration<double>(*end - now).count()) : std::nullopt;
}

bool StopClock::must_stop(Clock::time_point now, std::optional<Clock::time_point> deadline, double save_seconds) noexcept {
  constexpr auto window = 30min;  // one long pause does not count for ever
  const auto seconds = [](Clock::duration duration) { return std::chrono::duration<double>(duration).count(); };
  if (!window_began_) window_began_ = now;
  if (now - *window_began_ >= window) {
    window_began_ = now;
    longest_before_ = std::exchange(longest_, 0);
  }
  if (before_) longest_ = std::max(longest_, seconds(now - *before_));
  before_ = now;
  needed_ = std::max(longest_, longest_before_) + margin_ * save_seconds + reserve_;
  return deadline && seconds(*deadline - now) < needed_;
}

}  // namespace levin
