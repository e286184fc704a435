#include "signals.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "levin/core/error.h"

namespace levin::sweep {

Signals::Signals() {
  sigemptyset(&ending_);
  sigfillset(&defaults_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN)
      sigdelset(&defaults_, signal);
    else
      sigaddset(&ending_, signal);
  }
  signal(SIGCHLD, SIG_DFL);  // ignored, it would leave no exit status
  signal(SIGPIPE, SIG_IGN);  // the reader of the output may leave
  awaited_ = ending_;
  sigaddset(&awaited_, SIGCHLD);
  sigprocmask(SIG_BLOCK, &awaited_, nullptr);
}

int Signals::wait() const {
  for (;;) {
    const int signal = sigwaitinfo(&awaited_, nullptr);
    if (signal > 0) return signal;
    if (errno != EINTR)
      throw IoError(fmt::format("cannot wait for signals: {}", std::strerror(errno)), "start the same line again", "sweep");
  }
}

std::optional<int> Signals::pending() const {
  constexpr timespec at_once{};
  const int signal = sigtimedwait(&ending_, nullptr, &at_once);
  return signal > 0 ? std::optional(signal) : std::nullopt;
}

}  // namespace levin::sweep
