#pragma once
#include <memory>

#include "levin/trainer/callback.h"

namespace levin::cli {

/// While it lives, SIGINT and SIGTERM ask for a stop at the next step; a second one ends the program at once. The handlers set a flag and
/// nothing else, and those from before are put back.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Looks at the flag after every batch; a stop is then agreed with the other ranks at the next step.
  std::shared_ptr<Callback> callback() const;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

}  // namespace levin::cli
