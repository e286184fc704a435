#pragma once
#include <cstdint>

#include "levin/core/error.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {

/// Stops a training as a batch system's time limit would.
class StopAfterSteps : public Callback {
 public:
  explicit StopAfterSteps(int64_t steps) : steps_(steps) {}
  void setup(Stage) override {
    if (trainer().checkpoints().folder().empty())
      throw ConfigError("stop_after_steps without checkpoints", "leave enable_checkpointing on, and save_weights_only off", "cli");
  }
  /// The ranks exchange the request in the step that begins here.
  void on_train_batch_start(const Batch&, int64_t) override {
    if (trainer().report().steps + 1 >= steps_) trainer().session().request_stop(StopReason::restart);
  }

 private:
  int64_t steps_;
};

}  // namespace levin::cli
