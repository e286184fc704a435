#pragma once
#include <cstdint>
#include <string>

#include "levin/core/named_values.h"
#include "levin/session/state_dict.h"

namespace levin {

/// A sink of metrics. Called on rank 0 alone, with values that are already those of all ranks.
class Logger {
 public:
  virtual ~Logger() = default;
  /// `step`: optimizer steps before this one, as Lightning counts.
  virtual void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) = 0;
  /// The run's options, as YAML, before its first values.
  virtual void log_hyperparams(const std::string& /*yaml*/) {}
  /// What a run that resumes must find again of what was logged so far; load_state_dict comes before begin_training. What was logged after
  /// the checkpoint is logged again. The state of a training elsewhere, which this logger's files do not hold, is not loaded.
  virtual StateDict state_dict() { return {}; }
  virtual void load_state_dict(const StateDict&) {}
  /// A training of this folder begins, after `step` steps: no start is refused any more. What the logger's files hold beyond the loaded
  /// state belongs to an abandoned branch, or is logged again.
  virtual void begin_training(int64_t /*step*/) {}
  /// The run ends, well or not.
  virtual void finalize() {}
};

}  // namespace levin
