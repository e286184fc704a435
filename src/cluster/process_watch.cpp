#include "process_watch.h"

#include <fmt/core.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "../core/memory_groups.h"
#include "levin/core/number_text.h"

namespace levin::detail {
namespace {

struct ProcessStat {
  int64_t process;
  char state;
  uint64_t started;
};

std::optional<ProcessStat> read_stat(const std::string& process) {
  std::ifstream file("/proc/" + process + "/stat");
  std::string text;
  if (!std::getline(file, text) || text.rfind(')') == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(text.rfind(')') + 1));  // the name before may have blanks and brackets
  const auto number = parse_number<int64_t>(text.substr(0, text.find(' ')));
  ProcessStat stat{number.value_or(0), 0, 0};
  std::string skipped;
  fields >> stat.state;
  for (int field = 4; field < 22; field++) fields >> skipped;
  return fields >> stat.started ? std::optional(stat) : std::nullopt;
}

// "oom_kill 3" among the lines of a file; null without it.
std::optional<int64_t> oom_kills(const std::filesystem::path& file) {
  std::ifstream lines(file);
  std::string name;
  for (int64_t value = 0; lines >> name >> value;)
    if (name == "oom_kill") return value;
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> process_start(pid_t process) {
  const auto stat = read_stat(std::to_string(process));
  return stat ? std::optional(stat->started) : std::nullopt;
}

ProcessIdentity this_process() {
  const auto stat = read_stat("self");
  const bool known = stat && stat->process == getpid();  // else /proc has the numbers of another namespace
  return {getpid(), known ? stat->started : 0};
}

std::optional<char> process_state(const ProcessIdentity& process) {
  const auto stat = read_stat(std::to_string(process.process));
  if (!stat || process.started == 0 || stat->started != process.started || stat->state == 'Z' || stat->state == 'X') return std::nullopt;
  return stat->state;
}

std::string describe_process(const ProcessIdentity& process) {
  const auto state = process_state(process);
  const char* const words = !state          ? "no longer exists"
                            : *state == 'T' ? "is stopped (SIGSTOP)"
                            : *state == 't' ? "is stopped by a debugger"
                            : *state == 'D' ? "waits in the kernel, as for a file system"
                                            : "is alive";
  return fmt::format("its process {} {}", process.process, words);
}

OomCounters::OomCounters(const std::filesystem::path& root) {
  const auto add = [&](const std::filesystem::path& file) {
    if (const auto kills = oom_kills(file)) counters_.push_back({file, *kills});
  };
  for (const auto& group : memory_groups(root)) add(group.folder / (group.version2 ? "memory.events" : "memory.oom_control"));
  add(root / "proc/vmstat");
}

std::string OomCounters::risen() const {
  for (const auto& [file, before] : counters_)
    if (const auto kills = oom_kills(file); kills && *kills > before)
      return fmt::format("out of memory: the kernel killed it, or a process beside it (oom_kill in {}: {}, now {})", file.string(), before,
                         *kills);
  return {};
}

}  // namespace levin::detail
