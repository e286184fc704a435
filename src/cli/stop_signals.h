#pragma once
#include <memory>
#include <optional>

#include "levin/session/stop_agreement.h"

namespace levin::cli {

/// While it lives, SIGINT and SIGTERM request a stop after the current step or evaluation batch; a second signal ends the program at once.
/// The handlers only set a flag. The destructor restores the previous handlers.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// A StopAgreement::StopSource: the stop reason of the signal that this rank received.
  static std::optional<StopReason> reason() noexcept;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

}  // namespace levin::cli
