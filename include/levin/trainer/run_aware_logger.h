#pragma once
#include "levin/core/log.h"
#include "levin/trainer/call_queue.h"

namespace levin {

/// How a run ended: to its end, early on request (a signal, the time limit), or by an error.
enum class RunEnd { finished, stopped, failed };

/// What a Logger implements besides Logger to write to the run's log, to record how the run ended, or to queue further calls in order with
/// those of Logger. The Trainer calls all on rank 0.
class RunAwareLogger {
 public:
  virtual ~RunAwareLogger() = default;
  /// Before all calls of Logger.
  virtual void set_log(const Log& /*log*/) {}
  /// The queue that makes the calls of Logger, before the first of them; null when it ends.
  virtual void set_queue(CallQueue* /*queue*/) {}
  /// Before Logger::finalize, and before the destruction of a logger that was not finalized.
  virtual void set_end(RunEnd /*end*/) noexcept {}
};

}  // namespace levin
