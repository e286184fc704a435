#include "stop_signals.h"

#include <csignal>
#include <utility>

#include "levin/trainer/trainer.h"

namespace levin::cli {
namespace {

volatile std::sig_atomic_t arrived = 0;  // a handler can reach nothing else

void note(int signal) {
  if (arrived != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  arrived = signal;
}

class StopOnSignal : public Callback {
 public:
  void on_train_batch_end(const Tensor&, const Batch&, int64_t) override { look(); }
  void on_validation_batch_end(const Batch&, int64_t) override { look(); }

 private:
  void look() {
    if (arrived != 0) trainer().session().request_stop(arrived == SIGINT ? StopReason::interrupted : StopReason::terminated);
  }
};

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

std::shared_ptr<Callback> StopSignals::callback() const { return std::make_shared<StopOnSignal>(); }

}  // namespace levin::cli
