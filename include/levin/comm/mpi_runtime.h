#pragma once
#include <mpi.h>

#include <memory>

#include "levin/core/log.h"

namespace levin {

/// MPI, either started here or lent by the program around us. Levin works on a duplicate of the communicator it is given, and gets
/// errors as exceptions on it; it never touches MPI_COMM_WORLD's settings.
class MpiRuntime {
 public:
  /// Starts MPI (thread level MULTIPLE where it is to be had) and finishes it in the destructor, where all ranks must come; in a program
  /// that has started MPI already, uses MPI_COMM_WORLD and finishes nothing. Silent unless a log is given.
  MpiRuntime();
  /// Uses a duplicate of `communicator`, collectively over its ranks; MPI must be running, and is left running. UsageError when it is
  /// not, or `communicator` is none of one group.
  explicit MpiRuntime(MPI_Comm communicator);
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  MPI_Comm communicator() const noexcept { return communicator_; }
  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  /// MPI_THREAD_SINGLE … MPI_THREAD_MULTIPLE, as provided.
  int thread_level() const noexcept { return thread_level_; }

  /// Ends all ranks at once with this exit code: for a rank that cannot end together with the others.
  [[noreturn]] void end_job(int exit_code) const noexcept;

  const Log& log() const noexcept { return log_; }
  void set_log(Log log) { log_ = std::move(log); }

 private:
  void adopt(MPI_Comm communicator);

  MPI_Comm communicator_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1, thread_level_ = MPI_THREAD_SINGLE;
  bool started_here_ = false;
  Log log_;
};

/// Throws a CommunicatorError that names the call and MPI's own words when `code` is not MPI_SUCCESS.
void check_mpi(int code, const char* call);

}  // namespace levin
