// A program that ends in all the ways that tests must not: misbehave MODE, on any number of ranks; the last rank does it.
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  MPI_Init(&argc, &argv);
  int rank = 0, size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (mode == "skip") {
    if (rank == 0) std::puts("SKIPPED: needs a GPU");
    MPI_Finalize();
    return 77;
  }
  if (rank == size - 1) {
    if (mode == "exit") _exit(0);  // without MPI_Finalize, while the others wait
    if (mode == "fail") _exit(3);
    if (mode == "throw") throw std::runtime_error("thrown on the last rank");
    if (mode == "crash") raise(SIGSEGV);
    if (mode == "deaf") signal(SIGTERM, SIG_IGN);
    if (mode == "deaf" || mode == "hang") pause();
    if (mode == "orphan" && fork() == 0) {
      setsid();
      sleep(600);
    }
  }
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
}
