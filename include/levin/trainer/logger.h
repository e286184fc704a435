#pragma once
#include <cstdint>
#include <string>

#include "levin/core/named_values.h"
#include "levin/session/state_dict.h"

namespace levin {

/// Where metrics go. Called on rank 0 alone, with values that are already those of all ranks.
class Logger {
 public:
  virtual ~Logger() = default;
  /// `step`: optimizer steps before this one, as Lightning counts.
  virtual void log_metrics(const NamedValues& values, int64_t epoch, int64_t step) = 0;
  /// The run's options, as YAML, before its first values.
  virtual void log_hyperparams(const std::string& /*yaml*/) {}
  /// What a run that goes on must find again, of what was logged so far; and how it is taken back before the first value. What was logged
  /// after the checkpoint is logged again.
  virtual StateDict state_dict() { return {}; }
  virtual void load_state_dict(const StateDict&) {}
  /// The run ends, well or not.
  virtual void finalize() {}
};

}  // namespace levin
