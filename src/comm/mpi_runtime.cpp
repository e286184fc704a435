#include "levin/comm/mpi_runtime.h"

#include <cstdlib>

#include "levin/comm/communicator.h"

namespace levin {

void check_mpi(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char words[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, words, &length);
  throw CommunicatorError(fmt::format("{} failed: {}", call, std::string(words, static_cast<size_t>(length))));
}

namespace {

bool running() {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  return initialized && !finalized;
}

}  // namespace

MpiRuntime::MpiRuntime() {
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized)
    throw UsageError("comm", "MPI is already finalized", "create MpiRuntime before MPI_Finalize; MPI cannot be initialized again");
  if (!running()) {
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);  // else a thread that waits in Open MPI spins, and takes a core from the computation
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &thread_level_), "MPI_Init_thread");
    started_here_ = true;
  }
  adopt(MPI_COMM_WORLD);
}

MpiRuntime::MpiRuntime(MPI_Comm communicator) {
  if (!running())
    throw UsageError("comm", "MPI is not running", "call MPI_Init before MpiRuntime is created, MPI_Finalize after it is destroyed");
  int between_groups = 0;
  if (communicator != MPI_COMM_NULL) MPI_Comm_test_inter(communicator, &between_groups);
  if (communicator == MPI_COMM_NULL || between_groups)
    throw UsageError("comm",
                     communicator == MPI_COMM_NULL ? "the communicator is MPI_COMM_NULL" : "the communicator is an inter-communicator",
                     "give an intra-communicator that this rank is in");
  adopt(communicator);
}

void MpiRuntime::adopt(MPI_Comm communicator) {
  MPI_Query_thread(&thread_level_);
  check_mpi(MPI_Comm_dup(communicator, &communicator_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size_);
}

MpiRuntime::~MpiRuntime() {
  if (!running()) return;  // the host program has already finalized MPI
  MPI_Comm_free(&communicator_);
  if (started_here_) MPI_Finalize();
}

void MpiRuntime::end_job(int exit_code) const noexcept {
  MPI_Abort(communicator_, exit_code);
  std::_Exit(exit_code);  // MPI_Abort returns only on failure
}

}  // namespace levin
