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

MpiRuntime::MpiRuntime() {
  int running = 0;
  MPI_Initialized(&running);
  if (!running) {
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);  // a thread that waits in Open MPI would else take a core from the computation
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &thread_level_), "MPI_Init_thread");
    started_here_ = true;
  }
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &communicator_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size_);
}

MpiRuntime::MpiRuntime(MPI_Comm communicator) {
  MPI_Query_thread(&thread_level_);
  check_mpi(MPI_Comm_dup(communicator, &communicator_), "MPI_Comm_dup");
  MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(communicator_, &rank_);
  MPI_Comm_size(communicator_, &size_);
}

MpiRuntime::~MpiRuntime() {
  MPI_Comm_free(&communicator_);
  if (started_here_) MPI_Finalize();
}

}  // namespace levin
