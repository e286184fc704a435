#pragma once
#include <cstdint>
#include <optional>

#include "levin/core/config.h"
#include "levin/trainer/trainer.h"

namespace levin::cli {

/// The limits of the job, and the action at its end.
struct JobConfig {
  std::optional<int64_t> stop_after_steps;
};
LEVIN_CONFIG(JobConfig, (stop_after_steps,
                         "optimizer steps after which this attempt ends as at a time limit: with a checkpoint and exit "
                         "code 75",
                         at_least(1)))

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
