#include "stop_signals.h"

#include <csignal>

namespace levin::cli {
namespace {

volatile std::sig_atomic_t arrived = 0;  // global, because a signal handler takes no arguments

void note(int signal) {
  if (arrived != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  arrived = signal;
}

}  // namespace

struct StopSignals::Saved {
  struct sigaction interrupt, terminate;
};

StopSignals::StopSignals() : saved_(std::make_unique<Saved>()) {
  arrived = 0;
  struct sigaction action {};
  action.sa_handler = note;
  sigaction(SIGINT, &action, &saved_->interrupt);
  sigaction(SIGTERM, &action, &saved_->terminate);
}

StopSignals::~StopSignals() {
  sigaction(SIGINT, &saved_->interrupt, nullptr);
  sigaction(SIGTERM, &saved_->terminate, nullptr);
}

std::optional<StopReason> StopSignals::reason() noexcept {
  if (arrived == 0) return std::nullopt;
  return arrived == SIGINT ? StopReason::interrupted : StopReason::terminated;
}

}  // namespace levin::cli
