// A program that owns MPI, as a simulation does, and lends Levin a communicator. Its argument is how it starts MPI; it ends with 0 when
// all is as it must be.
#include <ATen/ops/full.h>
#include <fmt/core.h>
#include <mpi.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>

#include "levin/comm/communicator.h"
#include "levin/comm/mpi_runtime.h"

namespace {

const auto main_thread = std::this_thread::get_id();
std::atomic<int> calls_elsewhere = 0;

void note_thread() {
  if (std::this_thread::get_id() != main_thread) calls_elsewhere++;
}

}  // namespace

// MPI's profiling interface: what Levin calls passes through here.
extern "C" int MPI_Isend(const void* data, int count, MPI_Datatype type, int to, int tag, MPI_Comm communicator, MPI_Request* request) {
  note_thread();
  return PMPI_Isend(data, count, type, to, tag, communicator, request);
}
extern "C" int MPI_Iprobe(int from, int tag, MPI_Comm communicator, int* found, MPI_Status* status) {
  note_thread();
  return PMPI_Iprobe(from, tag, communicator, found, status);
}
extern "C" int MPI_Recv(void* data, int count, MPI_Datatype type, int from, int tag, MPI_Comm communicator, MPI_Status* status) {
  note_thread();
  return PMPI_Recv(data, count, type, from, tag, communicator, status);
}
extern "C" int MPI_Testall(int count, MPI_Request requests[], int* done, MPI_Status statuses[]) {
  note_thread();
  return PMPI_Testall(count, requests, done, statuses);
}

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

// Of each rank in turn: a leader, one that is none, and one that is alone on its host.
void abort_on_another_thread(const levin::MpiRuntime& mpi) {
  for (int ender = 0; ender < mpi.size(); ender++) {
    const auto comm = levin::Communicator::create_cpu(mpi);
    bool ended = false;
    try {
      comm->barrier();
      if (comm->rank() == ender) std::thread([&] { comm->abort("a watch ended it"); }).join();
      for (;;) comm->all_reduce(at::full({10}, 1.0f)).wait();
    } catch (const levin::CommunicatorAborted& aborted) {
      ended = aborted.by_rank() == ender && std::string(aborted.what()).find("a watch ended it") != std::string::npos;
    }
    check(ended, "an abort on another thread did not reach this rank");
  }
  check(calls_elsewhere == 0, "MPI was called on a thread that it was not initialized for");
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
  if (how == "funneled") abort_on_another_thread(levin::MpiRuntime());
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
