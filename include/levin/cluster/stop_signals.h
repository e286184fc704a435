#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "levin/cluster/job_config.h"
#include "levin/session/stop_agreement.h"

namespace levin {

/// While it lives, SIGINT and the given signals ask for a stop after the step or evaluation batch under way. A second SIGINT, at least
/// 0.2 s after the first (launchers deliver some signals twice), ends the program at once; any other repetition changes nothing. Handlers
/// set a flag and nothing else; system calls are restarted. SIGINT and SIGHUP that the process was started to ignore (nohup, `&`) stay
/// ignored. The handlers of before are put back at the end. One object at a time.
class StopSignals {
 public:
  explicit StopSignals(const std::vector<StopSignal>& signals);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The reason to stop of the signals that this rank got: interrupted for INT, terminated for TERM, restart for the others. A
  /// StopAgreement::StopSource.
  static std::optional<StopReason> reason() noexcept;
  /// The signals that this rank got, as bits; to be or-ed over ranks.
  static uint32_t arrived() noexcept;
  /// Whether a rank got TERM after USR1, USR2 or HUP.
  static bool announced_end(uint32_t arrived) noexcept;
  /// "SIGUSR1, SIGTERM"; empty: none.
  static std::string names(uint32_t arrived);

 private:
  struct Saved;
  std::vector<Saved> saved_;
};

}  // namespace levin
