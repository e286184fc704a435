#pragma once
#include <memory>
#include <optional>

#include "levin/session/stop_agreement.h"

namespace levin::cli {

/// While it lives, SIGINT and SIGTERM ask for a stop after the step or evaluation batch under way; a second one ends the program at once.
/// The handlers set a flag and nothing else, and those from before are put back.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The reason to stop of the signal that this rank got: a StopAgreement::StopSource.
  static std::optional<StopReason> reason() noexcept;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

}  // namespace levin::cli
