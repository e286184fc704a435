#pragma once
#include <memory>
#include <string>

namespace levin {
class Communicator;
}

namespace levin::cli {

/// While it lives, a crash of this process (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, std::terminate) is reported on standard error in
/// under 15 lines: rank, host, hook, unit, batch and stack. Only one rank of a job reports. The process then exits with 70 or, with core
/// dumps enabled (ulimit -c), dies by the signal. The handlers use preallocated memory. The destructor restores the previous handlers.
///
/// Does nothing under AddressSanitizer, which has its own report.
class CrashReport {
 public:
  CrashReport(int rank, int ranks);
  ~CrashReport();
  CrashReport(const CrashReport&) = delete;
  CrashReport& operator=(const CrashReport&) = delete;

  /// From now on the ranks agree, through the abort word, on one rank that reports; null: every rank reports.
  void agree_by(Communicator* communicator) noexcept;
  /// Writes the report to this file, too. `begin` is the file's JSON object without the closing brace.
  void record_in(const std::string& file, const std::string& begin);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace levin::cli
