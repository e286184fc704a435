#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "levin/trainer/logger.h"

namespace levin {

namespace detail {
class TrainingLog;
}

/// A logger of lines in a file that follows the training. An existing file is continued. A training that resumes, or starts over, moves the
/// lines that are not its past to the end of NAME.abandoned.EXTENSION, so that the file has one value for each step and name.
class LineLogger : public Logger {
 public:
  ~LineLogger() override;
  /// The file's length: what is beyond it is not the past of a run that resumes.
  StateDict state_dict() override;
  void load_state_dict(const StateDict& state) override;
  void begin_training(int64_t step) override;
  void finalize() override;

 protected:
  /// `prefix` is put before the names of the values, with a - between, unless it is empty.
  LineLogger(std::unique_ptr<detail::TrainingLog> log, const std::string& prefix);

  std::string prefix_;
  std::unique_ptr<detail::TrainingLog> log_;
};

}  // namespace levin
