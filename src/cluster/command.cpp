#include "command.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include "spawn_settings.h"

extern char** environ;

namespace levin::detail {
namespace {

using namespace std::chrono_literals;
constexpr size_t most_output = 4 << 20;

class CommandPipe {
 public:
  CommandPipe() {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0)
      ends_ = {-1, -1};
    else
      fcntl(ends_[0], F_SETFL, O_NONBLOCK);  // not the command's end: few commands retry a write
  }
  ~CommandPipe() {
    close_end(0);
    close_end(1);
  }
  CommandPipe(const CommandPipe&) = delete;
  CommandPipe& operator=(const CommandPipe&) = delete;
  bool good() const noexcept { return ends_[0] >= 0; }
  int read_end() const noexcept { return ends_[0]; }
  int write_end() const noexcept { return ends_[1]; }
  void close_end(size_t end) noexcept {
    if (ends_[end] >= 0) close(std::exchange(ends_[end], -1));
  }
  void drain(std::string& text) {
    std::array<char, 4096> bytes;
    while (ends_[0] >= 0) {
      const auto count = read(ends_[0], bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count == 0) close_end(0);
      if (count <= 0) return;
      text.append(bytes.data(), std::min(static_cast<size_t>(count), most_output - std::min(most_output, text.size())));
    }
  }

 private:
  std::array<int, 2> ends_{};
};

}  // namespace

CommandResult run_command(const std::vector<std::string>& words, std::chrono::milliseconds limit, const std::stop_token& stop) {
  CommandResult result{.started = false, .limit = limit};
  CommandPipe out, err;
  if (words.empty() || !out.good() || !err.good()) {
    result.err = words.empty() ? "no command" : std::strerror(errno);
    return result;
  }
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));  // posix_spawn changes none
  arguments.push_back(nullptr);
  pid_t pid = 0;
  {
    sigset_t all;
    sigfillset(&all);
    SpawnSettings settings(all);
    posix_spawn_file_actions_adddup2(&settings.actions, out.write_end(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&settings.actions, err.write_end(), STDERR_FILENO);
    if (const int error = posix_spawnp(&pid, arguments.front(), &settings.actions, &settings.attributes, arguments.data(), environ)) {
      result.err = error == ENOENT ? "not found" : std::strerror(error);
      return result;
    }
  }
  result.started = true;
  out.close_end(1);
  err.close_end(1);
  const auto end = std::chrono::steady_clock::now() + limit;
  int status = 0;
  for (bool killed = false;;) {
    const pid_t ended = waitpid(pid, &status, WNOHANG);
    out.drain(result.out);
    err.drain(result.err);
    if (ended == pid || (ended < 0 && errno != EINTR)) break;
    if (!killed && (stop.stop_requested() || std::chrono::steady_clock::now() >= end)) {
      killed = true;
      result.in_time = false;
      kill(-pid, SIGKILL);
    }
    std::array<pollfd, 2> readable{{{out.read_end(), POLLIN, 0}, {err.read_end(), POLLIN, 0}}};
    if (out.read_end() < 0 && err.read_end() < 0)
      std::this_thread::sleep_for(5ms);  // it has closed its output and not ended
    else
      poll(readable.data(), readable.size(), 20);
  }
  result.status = exit_status(status);
  return result;
}

std::string CommandResult::failure() const {
  if (!started) return err;
  if (!in_time) return fmt::format("no answer in {:g} s", std::chrono::duration<double>(limit).count());
  if (status == 0) return "unexpected output";
  const auto line = err.substr(0, std::min(err.find('\n'), size_t{200}));
  return fmt::format("exit status {}{}{}", status, line.empty() ? "" : ": ", line);
}

}  // namespace levin::detail
