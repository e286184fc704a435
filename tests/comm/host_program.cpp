// A program that owns MPI, as a simulation does, and lends Levin a communicator. Its argument is how it starts MPI; it ends with 0 when
// all is as it must be.
#include <ATen/ops/full.h>
#include <fmt/core.h>
#include <mpi.h>

#include <cstdlib>
#include <string>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"

namespace {

void check(bool good, const char* message) {
  if (good) return;
  fmt::print(stderr, "host_program: {}\n", message);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

void work(const levin::MpiRuntime& mpi, int expected_level) {
  check(mpi.thread_level() == expected_level, "another thread level than MPI was started with");
  auto comm = levin::Communicator::create_cpu(mpi);
  for (const int64_t numel : {3, 100000}) {
    const auto tensor = at::full({numel}, 1.0f);
    comm->all_reduce(tensor).wait();
    check(tensor.eq(comm->size()).all().item<bool>(), "a wrong sum");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  bool refused = false;
  try {
    levin::MpiRuntime early(MPI_COMM_WORLD);
  } catch (const levin::UsageError&) {
    refused = true;
  }
  if (!refused) return 2;

  int level = MPI_THREAD_SINGLE;
  if (how == "funneled")
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);
  else
    MPI_Init(nullptr, nullptr);
  MPI_Query_thread(&level);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm mine;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &mine);
  {
    levin::MpiRuntime mpi(mine);
    MPI_Comm_rank(mine, &rank);
    check(mpi.rank() == rank, "another rank than in the communicator given");
    work(mpi, level);
  }
  work(levin::MpiRuntime(), level);  // all of a program that has started MPI
  MPI_Errhandler handler;
  MPI_Comm_get_errhandler(MPI_COMM_WORLD, &handler);
  check(handler == MPI_ERRORS_ARE_FATAL, "the host's communicator was changed");
  check(MPI_Barrier(mine) == MPI_SUCCESS, "MPI was not left running");
  MPI_Comm_free(&mine);
  {
    levin::MpiRuntime outlives;  // its destructor finds MPI finished
    MPI_Finalize();
  }
  try {
    levin::MpiRuntime late;
  } catch (const levin::UsageError&) {
    return EXIT_SUCCESS;
  }
  return 3;
}
