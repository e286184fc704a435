#include "driver.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include "../../src/cluster/command.h"
#include "levin/core/text.h"
#include "process.h"
#include "table.h"

namespace levin::sweep {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string>;

Words program_line(const Sweep& sweep, const Configuration& configuration) {
  Words words = sweep.config.program;
  words.insert(words.end(), {"--run_dir", (sweep.config.sweep_dir / configuration.name).string(), "--job.requeue",
                             "exit_code"});  // the sweep's script does
  for (const auto& [name, value] : configuration.options) words.push_back(fmt::format("--{}={}", name, value));
  return words;
}

std::string description(const Configuration& configuration) {
  std::string text;
  for (const auto& [name, value] : configuration.options) text += fmt::format(" {}={}", name, value);
  return text;
}

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

// The last messages of Levin, "rank 1 on host: [tag] …" or "[tag] …"; without any the last lines, which are the launcher's.
std::string end_of_log(const std::filesystem::path& file) {
  constexpr size_t count = 6;
  std::ifstream in(file);
  std::deque<std::string> lines, messages;
  const auto keep = [](std::deque<std::string>& kept, const std::string& line) {
    kept.push_back("\n    " + sanitized(line.substr(0, 400)));
    if (kept.size() > count) kept.pop_front();
  };
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with('[') || line.starts_with("rank ")) keep(messages, line);
    keep(lines, line);
  }
  std::string text;
  for (const auto& line : messages.empty() ? lines : messages) text += line;
  return text;
}

}  // namespace

Driver::Driver(const Sweep& sweep, const Launcher& launcher, Record& record) : sweep_(sweep), launcher_(launcher), record_(record) {
  for (size_t i = 0; i < sweep.configurations.size(); i++)
    if (!record.results()[i].finished(sweep.config.program)) waiting_.push_back(i);
  for (size_t i = launcher.groups().size(); i-- > 0;) free_.push_back(i);
}

std::string Driver::commands(const Sweep& sweep, const Launcher& launcher) {
  std::string text;
  const auto results = read_results(sweep);
  for (size_t i = 0, next = 0; i < results.size(); i++) {
    if (results[i].finished(sweep.config.program)) continue;
    auto words = launcher.words(launcher.groups()[next++ % launcher.groups().size()]);
    for (auto& word : program_line(sweep, sweep.configurations[i])) words.push_back(std::move(word));
    text += fmt::format("{}\n", fmt::join(words, " "));
  }
  return text;
}

void Driver::check_options() const {
  for (const auto i : waiting_) {
    if (record_.results()[i].command == sweep_.config.program) continue;  // it has been started
    const auto& configuration = sweep_.configurations[i];
    auto words = program_line(sweep_, configuration);
    words.emplace_back("--print_config");
    const auto answer = levin::detail::run_command(words, 120s);
    if (answer.good()) continue;
    if (!answer.started || !answer.in_time)
      throw ConfigError(fmt::format("{} --print_config: {}", words.front(), answer.failure()), "look at program", "sweep");
    throw ConfigError(
        fmt::format("the program refuses configuration {}:{} ({})", configuration.name, description(configuration), answer.failure()),
        "mend the sweep file", "sweep");
  }
}

ExitCode Driver::run() {
  try {
    return train();
  } catch (...) {  // nothing can be started or recorded any more
    pass_on(SIGTERM);
    for (const auto& [pid, training] : running_) waitpid(pid, nullptr, 0);
    throw;
  }
}

ExitCode Driver::train() {
  while (!running_.empty() || (!waiting_.empty() && !stopping_)) {
    while (!stopping_ && !waiting_.empty() && !free_.empty()) {
      const auto configuration = waiting_.front();
      waiting_.pop_front();
      const auto group = free_.back();
      free_.pop_back();
      start(configuration, group);
    }
    const int signal = next_signal();
    if (signal == SIGCHLD)
      collect();
    else
      pass_on(signal);
  }
  return exit_code();
}

void Driver::start(size_t configuration, size_t group) {
  const auto& each = sweep_.configurations[configuration];
  record_.set(configuration, {.exit_code = {}, .command = sweep_.config.program});
  auto words = launcher_.words(launcher_.groups()[group]);
  for (auto& word : program_line(sweep_, each)) words.push_back(std::move(word));
  const auto pid = start_process(words, sweep_.config.sweep_dir / (each.name + ".log"));
  running_.emplace(pid, Training{configuration, group});
  say(fmt::format("[sweep] {} starts:{}", each.name, description(each)));
}

// One SIGCHLD may stand for several ends.
void Driver::collect() {
  for (int status = 0;;) {
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    const auto found = running_.find(pid);
    if (found == running_.end()) continue;
    const auto training = found->second;
    running_.erase(found);
    end(training, exit_status(status));
  }
}

void Driver::end(const Training& training, int exit_code) {
  free_.push_back(training.group);
  record_.set(training.configuration, {.exit_code = exit_code, .command = sweep_.config.program});
  stopping_ |= exit_code == static_cast<int>(ExitCode::stopped_early);
  const auto& each = sweep_.configurations[training.configuration];
  const auto state = state_of(sweep_, record_.results()[training.configuration]);
  const auto log = sweep_.config.sweep_dir / (each.name + ".log");
  say(fmt::format("[sweep] {} {}{}", each.name, state,
                  state.starts_with("failed") ? fmt::format("; the end of {}:{}", log.string(), end_of_log(log)) : ""));
}

void Driver::pass_on(int signal) {
  stopping_ = true;
  signal_ = signal;
  say(fmt::format("[sweep] got SIG{}: {} trainings stop", sigabbrev_np(signal), running_.size()));
  for (const auto& [pid, training] : running_) kill(pid, signal);
}

ExitCode Driver::exit_code() const {
  if (signal_ == SIGINT) return ExitCode::interrupted;
  if (signal_ == SIGTERM) return static_cast<ExitCode>(128 + SIGTERM);
  bool failed = false;
  for (const auto& result : record_.results()) {
    if (result.finished(sweep_.config.program)) continue;
    if (result.command != sweep_.config.program || result.exit_code.value_or(75) == static_cast<int>(ExitCode::stopped_early))
      return ExitCode::stopped_early;
    failed = true;
  }
  return failed ? ExitCode::internal : ExitCode::finished;
}

}  // namespace levin::sweep
