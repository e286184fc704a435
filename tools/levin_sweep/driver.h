#pragma once
#include <sys/types.h>

#include <deque>
#include <map>
#include <vector>

#include "levin/core/error.h"
#include "placement.h"
#include "record.h"

namespace levin::sweep {

/// Trains the configurations of a sweep side by side. Needs block_signals.
class Driver {
 public:
  Driver(const Sweep& sweep, const Launcher& launcher, Record& record);

  /// The command of each configuration that is not finished, a line each.
  static std::string commands(const Sweep& sweep, const Launcher& launcher);
  /// Refuses options that the program refuses, before the first training. ConfigError.
  void check_options() const;
  /// Starts what is not finished, a configuration on each group of ranks, until all have ended. A signal that ends a job is passed on to
  /// the trainings, and nothing more is started; so it is when a training stopped early.
  ExitCode run();

 private:
  struct Training {
    size_t configuration, group;
  };

  ExitCode train();
  void start(size_t configuration, size_t group);
  void collect();
  void end(const Training& training, int exit_code);
  void pass_on(int signal);
  ExitCode exit_code() const;

  const Sweep& sweep_;
  const Launcher& launcher_;
  Record& record_;
  std::deque<size_t> waiting_;  // configurations
  std::vector<size_t> free_;    // groups
  std::map<pid_t, Training> running_;
  bool stopping_ = false;
  int signal_ = 0;
};

}  // namespace levin::sweep
