#pragma once
#include <cstdint>
#include <filesystem>

#include "levin/core/profile_range.h"
#include "levin/trainer/hooks.h"

namespace levin {

class Session;

/// Measures the runs of a Trainer. It sees the ranges of the training thread (see ObservedThread), from the beginning of a run to its end.
/// begin and end come from several threads; all other calls from the training thread of every rank, in this order: begin_run, begin_step
/// before each step, end_run. A run that an exception ends has no end_run.
class Profiler : public RangeObserver {
 public:
  /// Collective.
  virtual void begin_run(Stage /*stage*/, Session&) {}
  /// `step`: of the run, from 0: an optimizer step of a training, or a batch of an evaluation. Not collective.
  virtual void begin_step(int64_t /*step*/) {}
  /// Reports what the run has taken. `folder`: of the run's files, empty: none. Collective.
  virtual void end_run(Stage stage, Session& session, const std::filesystem::path& folder) = 0;
};

}  // namespace levin
