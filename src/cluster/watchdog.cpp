#include "levin/cluster/watchdog.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "hang_clock.h"
#include "levin/comm/host_values.h"
#include "levin/comm/node_group.h"
#include "levin/comm/topology.h"
#include "levin/core/error.h"
#include "position_file.h"
#include "process_watch.h"
#include "thread_snapshot.h"

namespace levin {
namespace {

using namespace std::chrono_literals;
using WatchTime = std::chrono::steady_clock;
constexpr int lost_code = static_cast<int>(ExitCode::rank_lost);

[[noreturn]] void exit_as_lost() { _exit(lost_code); }

// Whatever the watchdog waits for, a file system or a lock of a thread that is stuck: the process ends.
void end_after(std::chrono::seconds patience) {
  struct sigaction action {};
  action.sa_handler = [](int) { _exit(lost_code); };
  sigemptyset(&action.sa_mask);
  sigaction(SIGALRM, &action, nullptr);
  alarm(static_cast<unsigned>(patience.count()));
}

double seconds_of(const WatchdogOptions& options) { return options.hang_timeout ? options.hang_timeout->value : 0; }

std::chrono::milliseconds part_of(double timeout, std::chrono::milliseconds least, std::chrono::milliseconds most) {
  if (!(timeout > 0)) return most;
  return std::clamp(std::chrono::milliseconds(static_cast<int64_t>(std::min(timeout, 1e6) * 1000 / 20)), least, most);
}

}  // namespace

struct Watchdog::State {
  State(WatchdogOptions given, Communicator& ranks, const Topology& topology)
      : options(std::move(given)),
        communicator(ranks),
        node(*ranks.cpu().node()),
        rank(ranks.rank()),
        trained(pthread_self()),
        tick(part_of(seconds_of(options), 20ms, 250ms)),
        look(part_of(seconds_of(options), 20ms, 5s)),
        clock(seconds_of(options), tick) {
    processes = all_gather_value(ranks, detail::this_process());
    for (const auto& location : topology.locations()) names.push_back({location.host, {}});
    const auto token = broadcast_value(ranks, (uint64_t{std::random_device{}()} << 32) ^ static_cast<uint64_t>(getpid()));
    if (looks_for_hangs() && !options.folder.empty()) {
      if (rank == 0) detail::PositionFile::remove_leftovers(options.folder);
      file.emplace(options.folder, fmt::format("{:016x}", token), ranks.size());
    }
    choose_neighbour();
  }

  bool looks_for_hangs() const { return seconds_of(options) > 0; }
  bool is_on_this_host(int other) const { return names[static_cast<size_t>(other)].host == names[static_cast<size_t>(rank)].host; }

  // A ring: each process is looked at by one rank of its host. Ranks in containers cannot see each other.
  void choose_neighbour() {
    const int ranks = communicator.size();
    for (int step = 1; step < ranks && !neighbour; step++) {
      const int other = (rank + step) % ranks;
      if (is_on_this_host(other) && detail::process_state(processes[static_cast<size_t>(other)])) neighbour = other;
    }
  }

  void run(const std::stop_token& stop) {
    prctl(PR_SET_NAME, "levin-watchdog");
    std::mutex mutex;
    std::condition_variable_any never;
    while (!stop.stop_requested()) {
      {
        std::unique_lock lock(mutex);
        never.wait_for(lock, stop, tick, [] { return false; });
      }
      if (stop.stop_requested()) return;
      check(WatchTime::now());
    }
  }

  void check(WatchTime::time_point time) {
    const auto& flight = node.flight();
    clock.observe(time, flight.progress(), flight.unbounded());
    if (node.aborted()) return check_the_end(time);
    if (neighbour && !detail::process_state(processes[static_cast<size_t>(*neighbour)])) {
      if (std::exchange(neighbour_lost, true)) end_for_lost(*neighbour);  // not at once: the whole job may be ending
      return;
    }
    neighbour_lost = false;
    if (!looks_for_hangs()) return;
    if (clock.hangs()) return end_hang();
    if (!file || !(clock.stands_still() || flight.unbounded()) || time - looked < look) return;
    looked = time;
    if (file->exists()) end_hang();
  }

  // This rank's thread has seconds to unwind; the rank that failed first may take its time to report.
  void check_the_end(WatchTime::time_point time) {
    if (!aborted_at) aborted_at = time;
    if (time - *aborted_at > unwinding && !node.aborted_by_this_rank()) exit_as_lost();
  }

  void end_job(const std::string& message) {
    end_after(unwinding);
    options.end_job(message);
    if (node.aborted_by_this_rank()) alarm(0);  // by an error, which this rank is about to report
  }

  void end_for_lost(int lost) {
    const auto why = oom.risen();
    const auto& process = processes[static_cast<size_t>(lost)];
    end_job(fmt::format("[cluster] rank {} on {} is lost: its process {} no longer exists; {}", lost, names[static_cast<size_t>(lost)].host,
                        process.process, why.empty() ? "it was killed, or called exit; the log of the batch system may say why" : why));
  }

  detail::RankPosition position() const {
    const auto& flight = node.flight();
    detail::RankPosition mine{
        .rank = rank, .idle_seconds = clock.idle_seconds(), .phase = flight.phase(), .step = flight.step(), .calls = flight.calls()};
    if (mine.calls.empty()) {
      auto last = communicator.last_calls();  // of a device, whose calls return at once
      while (!last.empty() && last.back() == '\n') last.pop_back();
      if (!last.empty()) mine.calls = "no collective of the host; its last call on the device: " + last.substr(last.rfind('\n') + 1);
    }
    const auto snapshot = detail::snapshot_thread(trained, 2s);
    mine.answered = snapshot.has_value();
    if (!snapshot) return mine;
    mine.context = snapshot->context;
    if (options.describe_stack) mine.stack = options.describe_stack(snapshot->addresses);
    return mine;
  }

  // Ranks that wait for each other stand still from the same moment, within a step; each sees the file within `look`.
  void end_hang() {
    const auto grace = 2 * look + 3s;
    constexpr auto patience = 10s;  // beyond which any rank reports, whoever should have
    end_after(std::chrono::duration_cast<std::chrono::seconds>(grace + 2 * patience) + unwinding);
    std::vector<std::optional<detail::RankPosition>> positions(processes.size());
    const auto mine = position();
    positions[static_cast<size_t>(rank)] = mine;
    if (!file || !file->write(mine)) {
      end_job(detail::describe_hang(positions, with_notes(positions), most_lines));
      return;
    }
    const auto began = WatchTime::now();
    for (auto passed = WatchTime::duration::zero(); passed < grace + 2 * patience && !node.aborted(); passed = WatchTime::now() - began) {
      if (rank == 0 || passed > grace) {  // the others need not read all slots
        file->read(positions);
        const auto answered = [](const auto& each) { return each.has_value(); };
        const bool lowest = std::find_if(positions.begin(), positions.end(), answered) - positions.begin() == rank;
        const bool in_turn = lowest && (passed > grace || std::all_of(positions.begin(), positions.end(), answered));
        if ((in_turn || passed > grace + patience) && file->claim()) return report(positions);
      }
      std::this_thread::sleep_for(200ms);
    }
    if (node.aborted()) end_after(unwinding);
  }

  void report(const std::vector<std::optional<detail::RankPosition>>& positions) {
    constexpr size_t most_lines_of_file = 4000;
    const auto ranks = with_notes(positions);
    const auto path = file->finish(detail::describe_hang(positions, ranks, most_lines_of_file) + "\n");
    auto text = detail::describe_hang(positions, ranks, most_lines);
    if (!path.empty()) text += "\n  the whole report: " + path.string();
    end_job(text);
  }

  std::vector<detail::ReportedRank> with_notes(const std::vector<std::optional<detail::RankPosition>>& positions) const {
    auto ranks = names;
    for (size_t other = 0; other < ranks.size(); other++)
      if (!positions[other] && processes[other].started != 0 && is_on_this_host(static_cast<int>(other)))
        ranks[other].note = detail::describe_process(processes[other]);
    return ranks;
  }

  static constexpr size_t most_lines = 40;
  static constexpr auto unwinding = 20s;  // from an abort to the end of a process, which needs 8 s to wait for its launcher
  WatchdogOptions options;
  Communicator& communicator;
  NodeGroup& node;
  int rank;
  pthread_t trained;
  std::chrono::milliseconds tick, look;  // between two looks at this rank, at the file of the others
  detail::HangClock clock;
  detail::OomCounters oom;
  std::vector<detail::ProcessIdentity> processes;
  std::vector<detail::ReportedRank> names;
  std::optional<detail::PositionFile> file;
  std::optional<int> neighbour;
  bool neighbour_lost = false;
  WatchTime::time_point looked{};
  std::optional<WatchTime::time_point> aborted_at;
  std::jthread thread;
};

Watchdog::Watchdog(WatchdogOptions options, Communicator& communicator, const Topology& topology)
    : state_(std::make_unique<State>(std::move(options), communicator, topology)) {
  state_->thread = std::jthread([state = state_.get()](const std::stop_token& stop) { state->run(stop); });
}

Watchdog::~Watchdog() = default;

}  // namespace levin
