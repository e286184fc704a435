#pragma once
#include <mpi.h>

#include <memory>

#include "levin/core/log.h"

namespace levin {

/// MPI, started by this object or by the host program. Levin works on a duplicate of the given communicator, on which MPI errors become
/// exceptions; it never changes MPI_COMM_WORLD.
class MpiRuntime {
 public:
  /// Initializes MPI (requesting MPI_THREAD_MULTIPLE) and finalizes it in the destructor, which is then collective. If MPI is already
  /// initialized, uses MPI_COMM_WORLD and does not finalize. Logs nothing before set_log.
  MpiRuntime();
  /// Uses a duplicate of `communicator`; does not finalize MPI. Collective. UsageError if MPI is not running, or if `communicator` is not
  /// an intra-communicator.
  explicit MpiRuntime(MPI_Comm communicator);
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  MPI_Comm communicator() const noexcept { return communicator_; }
  int rank() const noexcept { return rank_; }
  int size() const noexcept { return size_; }
  /// MPI_THREAD_SINGLE … MPI_THREAD_MULTIPLE, as provided.
  int thread_level() const noexcept { return thread_level_; }

  /// Ends all ranks immediately with this exit code (MPI_Abort): for a rank that cannot shut down together with the others.
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

/// Throws a CommunicatorError with the name of the call and MPI's message if `code` is not MPI_SUCCESS.
void check_mpi(int code, const char* call);

}  // namespace levin
