#include "levin/profilers/simple_profiler.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <system_error>

#include "../core/file.h"
#include "../core/lines.h"
#include "levin/comm/host_values.h"
#include "levin/core/error.h"
#include "levin/session/session.h"
#include "range_text.h"

namespace levin {
namespace {

// What the ranks have taken for the ranges of rank 0.
struct RanksTimes {
  std::vector<double> least, most;
};

std::string joined_names(const std::vector<RangeTimes>& times) {
  std::string text;
  for (const auto& range : times) text += range.name + "\n";
  return text;
}

std::string range_table(const std::vector<RangeTimes>& times, const RanksTimes& ranks, double run_seconds, int size) {
  size_t width = 5;
  for (const auto& range : times) width = std::max(width, range.name.size());
  std::string text = fmt::format("{:<{}} | {:>9} | {:>10} | {:>10} | {:>6} | {:>10} | {:>10}\n", "range", width, "calls", "mean (s)",
                                 "total (s)", "%", "min (s)", "max (s)");
  text += std::string(width + 73, '-') + "\n";
  for (size_t i = 0; i < times.size(); i++) {
    const auto& [name, calls, seconds] = times[i];
    text += fmt::format("{:<{}} | {:>9} | {:>10.4g} | {:>10.4g} | {:>6.2f} | {:>10.4g} | {:>10.4g}\n", name, width, calls,
                        seconds / static_cast<double>(calls), seconds, run_seconds > 0 ? 100 * seconds / run_seconds : 0, ranks.least[i],
                        ranks.most[i]);
  }
  return text + fmt::format("rank 0 of {}; min and max: totals of the ranks", size);
}

}  // namespace

void SimpleProfiler::begin_run(Stage, Session&) {
  const std::lock_guard lock(mutex_);
  totals_.clear();
  open_.clear();
  began_ = Clock::now();
}

void SimpleProfiler::begin(const RangeName& range) noexcept try {
  thread_local std::string name;
  detail::describe_range(range, name);
  const std::lock_guard lock(mutex_);
  auto found = totals_.find(name);
  if (found == totals_.end()) found = totals_.try_emplace(totals_.size() < most_names ? name : "other ranges").first;
  open_[std::this_thread::get_id()].push_back({&found->second, Clock::now()});
} catch (const std::bad_alloc&) {
  return;  // the end finds one range less
}

void SimpleProfiler::end() noexcept {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  const auto found = open_.find(std::this_thread::get_id());
  if (found == open_.end() || found->second.empty()) return;
  const auto [total, began] = found->second.back();
  found->second.pop_back();
  total->calls++;
  total->time += now - began;
}

std::vector<RangeTimes> SimpleProfiler::times() const {
  std::vector<RangeTimes> times;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, total] : totals_)
      if (total.calls > 0) times.push_back({name, total.calls, std::chrono::duration<double>(total.time).count()});
  }
  std::sort(times.begin(), times.end(),
            [](const RangeTimes& a, const RangeTimes& b) { return a.seconds != b.seconds ? a.seconds > b.seconds : a.name < b.name; });
  return times;
}

void SimpleProfiler::end_run(Stage stage, Session& session, const std::filesystem::path& folder) {
  const double seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  auto& ranks = session.communicator();
  const auto mine = times();
  std::vector<double> of_rank;
  for (const auto& name : detail::lines_of(broadcast_text(ranks, joined_names(mine)))) {
    const auto same = std::find_if(mine.begin(), mine.end(), [&](const RangeTimes& range) { return range.name == name; });
    of_rank.push_back(same == mine.end() ? 0 : same->seconds);
  }
  const RanksTimes all{all_min(ranks, of_rank), all_max(ranks, of_rank)};
  table_.clear();
  if (session.rank() != 0) return;
  table_ = range_table(mine, all, seconds, session.size());
  const auto& log = session.runtime().log();
  log.info("profile of {}, {:.4g} s\n{}", stage_name(stage), seconds, table_);
  const auto directory = config_.dirpath.empty() ? folder : config_.dirpath;
  if (directory.empty()) return;
  const auto file = directory / fmt::format("{}-{}.txt", stage_name(stage), config_.filename.empty() ? "profile" : config_.filename);
  try {
    std::filesystem::create_directories(directory);
    detail::replace_file(file, table_ + "\n", /*sync=*/false);
  } catch (const std::exception& error) {  // a training does not fail for its profile
    log.warning("[profilers] the profile is not written: {}", error.what());
  }
}

}  // namespace levin
