#pragma once
#include <sys/types.h>

#include <deque>
#include <map>
#include <vector>

#include "levin/core/error.h"
#include "placement.h"
#include "record.h"
#include "signals.h"

namespace levin::sweep {

/// Trains the configurations of a sweep side by side.
class Driver {
 public:
  Driver(const Sweep& sweep, const Launcher& launcher, Record& record, const Signals& signals);

  /// The command of each configuration that is not finished, a line each.
  static std::string commands(const Sweep& sweep, const Launcher& launcher);
  /// Refuses options that the program refuses, before the first training. ConfigError.
  void check_options();
  /// Starts what is not finished, a configuration on each group of ranks, until all have ended. After a signal that ends a job the
  /// trainings stop with a checkpoint (USR1, which srun and mpirun pass on), and nothing more is started; so it is when a training
  /// stopped early. At a second signal they get what came.
  ExitCode run();

 private:
  struct Training {
    size_t configuration, group;
  };

  ExitCode train();
  void start(size_t configuration, size_t group);
  void collect();
  void end(const Training& training, int exit_code);
  void check(const std::vector<size_t>& configurations) const;
  void stop(int signal);
  void look_for_signals();
  void send(int signal) const;
  ExitCode exit_code() const;

  const Sweep& sweep_;
  const Launcher& launcher_;
  Record& record_;
  const Signals& signals_;
  std::deque<size_t> waiting_;  // configurations
  std::vector<size_t> free_;    // groups
  std::map<pid_t, Training> running_;
  bool stopping_ = false;
  int signal_ = 0;
};

}  // namespace levin::sweep
