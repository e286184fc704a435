#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "sweep_config.h"

namespace levin::sweep {

/// What is known of a configuration.
struct Result {
  std::optional<int> exit_code = {};  ///< of its last start; nothing: not started, running, or lost with the sweep
  std::vector<std::string> command;   ///< the program's command line of that start
  bool finished(const std::vector<std::string>& program) const { return exit_code == 0 && command == program; }
};

/// sweep.json in the directory of a sweep: the configurations, of which those that were started never change, and their results. Open once
/// at a time: ConfigError where another levin-sweep, or a training that one started, uses the directory.
class Record {
 public:
  /// ConfigError if a configuration that was started is another one in the sweep file.
  explicit Record(const Sweep& sweep);
  ~Record();
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

  const std::vector<Result>& results() const noexcept { return results_; }
  /// Replaces the file. IoError.
  void set(size_t configuration, Result result);

 private:
  void write() const;

  const Sweep& sweep_;
  std::vector<Result> results_;
  int lock_ = -1;
};

/// The record of a sweep, without a lock; no results where there is none.
std::vector<Result> read_results(const Sweep& sweep);

}  // namespace levin::sweep
