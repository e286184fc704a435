#include "driver.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <future>
#include <thread>

#include "../../src/cluster/command.h"
#include "../../src/cluster/spawn_settings.h"
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

Driver::Driver(const Sweep& sweep, const Launcher& launcher, Record& record, const Signals& signals)
    : sweep_(sweep), launcher_(launcher), record_(record), signals_(signals) {
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

void Driver::check_options() {
  const size_t together = std::max(1u, std::thread::hardware_concurrency());
  std::vector<size_t> unchecked;
  for (const auto i : waiting_)
    if (record_.results()[i].command != sweep_.config.program) unchecked.push_back(i);  // it has not been started
  for (size_t first = 0; first < unchecked.size(); first += together) {
    look_for_signals();
    if (stopping_) return;
    const auto begin = unchecked.begin() + static_cast<std::ptrdiff_t>(first);
    check({begin, begin + static_cast<std::ptrdiff_t>(std::min(together, unchecked.size() - first))});
  }
}

void Driver::check(const std::vector<size_t>& configurations) const {
  std::vector<std::future<detail::CommandResult>> answers;
  for (const auto i : configurations) {
    auto words = program_line(sweep_, sweep_.configurations[i]);
    words.emplace_back("--print_config");
    answers.push_back(std::async(std::launch::async, [words = std::move(words)] { return levin::detail::run_command(words, 120s); }));
  }
  for (size_t at = 0; at < answers.size(); at++) {
    const auto answer = answers[at].get();
    if (answer.good()) continue;
    const auto& configuration = sweep_.configurations[configurations[at]];
    if (!answer.started || !answer.in_time)
      throw ConfigError(fmt::format("{} --print_config: {}", sweep_.config.program.front(), answer.failure()), "look at program", "sweep");
    throw ConfigError(
        fmt::format("the program refuses configuration {}: {} ({})", configuration.name, options_text(configuration), answer.failure()),
        "mend the sweep file", "sweep");
  }
}

ExitCode Driver::run() {
  try {
    return train();
  } catch (...) {  // nothing can be started or recorded any more
    send(SIGUSR1);
    for (const auto& [pid, training] : running_) waitpid(pid, nullptr, 0);
    throw;
  }
}

ExitCode Driver::train() {
  while (!running_.empty() || (!waiting_.empty() && !stopping_)) {
    while (!stopping_ && !waiting_.empty() && !free_.empty()) {
      look_for_signals();
      if (stopping_) break;
      const auto configuration = waiting_.front();
      waiting_.pop_front();
      const auto group = free_.back();
      free_.pop_back();
      start(configuration, group);
    }
    if (running_.empty()) break;
    if (const int signal = signals_.wait(); signal == SIGCHLD)
      collect();
    else
      stop(signal);
  }
  return exit_code();
}

void Driver::start(size_t configuration, size_t group) {
  const auto& each = sweep_.configurations[configuration];
  record_.set(configuration, {.exit_code = {}, .command = sweep_.config.program});
  auto words = launcher_.words(launcher_.groups()[group]);
  for (auto& word : program_line(sweep_, each)) words.push_back(std::move(word));
  const auto pid = start_process(words, sweep_.config.sweep_dir / (each.name + ".log"), signals_.defaults());
  running_.emplace(pid, Training{configuration, group});
  say(fmt::format("[sweep] {} starts: {}", each.name, options_text(each)));
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
    end(training, detail::exit_status(status));
  }
}

void Driver::end(const Training& training, int exit_code) {
  free_.push_back(training.group);
  // Launchers have codes of their own for ranks that a signal ended, some before they listened.
  if (signal_ != 0 && (exit_code == 1 || exit_code >= 128)) exit_code = static_cast<int>(ExitCode::stopped_early);
  record_.set(training.configuration, {.exit_code = exit_code, .command = sweep_.config.program});
  stopping_ |= exit_code == static_cast<int>(ExitCode::stopped_early);
  const auto& each = sweep_.configurations[training.configuration];
  const auto state = state_of(sweep_, record_.results()[training.configuration]);
  const auto log = sweep_.config.sweep_dir / (each.name + ".log");
  say(fmt::format("[sweep] {} {}{}", each.name, state,
                  state.starts_with("failed") ? fmt::format("; the end of {}:{}", log.string(), end_of_log(log)) : ""));
}

void Driver::look_for_signals() {
  while (const auto signal = signals_.pending()) stop(*signal);
}

void Driver::stop(int signal) {
  say(fmt::format("[sweep] got SIG{}: {} trainings stop", sigabbrev_np(signal), running_.size()));
  send(signal_ == 0 ? SIGUSR1 : signal);  // of INT and TERM srun and mpirun make the end of all ranks, without a checkpoint
  stopping_ = true;
  signal_ = signal;
}

void Driver::send(int signal) const {
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
