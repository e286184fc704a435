#pragma once
#include <memory>
#include <string>

namespace levin {
class Communicator;
}

namespace levin::cli {

/// While it lives, a crash of this process (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, std::terminate) is reported on standard error in
/// under 15 lines: rank, host, hook, unit, batch and stack. One rank of a job speaks. The process then ends with 70; where core dumps are
/// on (ulimit -c), by the signal itself. The handlers write into memory that is there before. What was there before is put back at the end.
///
/// Does nothing under AddressSanitizer, which has its own report.
class CrashReport {
 public:
  CrashReport(int rank, int ranks);
  ~CrashReport();
  CrashReport(const CrashReport&) = delete;
  CrashReport& operator=(const CrashReport&) = delete;

  /// From now on the ranks agree on the one that speaks, by the abort word; null: each for itself.
  void agree_by(Communicator* communicator) noexcept;
  /// The report goes to this file, too: `begin` is its JSON object, without the brace at the end.
  void record_in(const std::string& file, const std::string& begin);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace levin::cli
