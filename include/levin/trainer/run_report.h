#pragma once
#include <cstdint>
#include <string>

#include "levin/trainer/logger.h"

namespace levin {

/// Batches of this rank in the pass under way, and how many there will be (0: unknown); for progress bars.
struct BatchProgress {
  int64_t done = 0, total = 0;
};

/// The results of a run, for run.json and the last lines of a job.
struct RunReport {
  int64_t steps = 0, epochs = 0;
  int64_t skipped_steps = 0;  ///< of these, see Session::skipped_steps
  int64_t samples = 0;        ///< trained on, over all ranks
  double train_seconds = 0;   ///< without validation
  std::string stop_reason = "finished";
  bool already_complete = false;  ///< the checkpoint's training had ended before this attempt: nothing was trained
  NamedValues metrics;            ///< the newest value of each
  double samples_per_second() const { return train_seconds > 0 ? static_cast<double>(samples) / train_seconds : 0; }
};

}  // namespace levin
