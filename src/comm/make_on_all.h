#pragma once
#include <mpi.h>

#include <exception>
#include <string>

#include "levin/comm/mpi_runtime.h"
#include "levin/core/error.h"

namespace levin::detail {

/// make() makes something that the ranks of a host share. Where a host has no room for it, all ranks of `communicator` get an IoError:
/// nobody goes on alone. Collective.
template <class Make>
auto make_on_all(MPI_Comm communicator, const std::string& directory, const Make& make) -> decltype(make()) {
  decltype(make()) made;
  std::exception_ptr failure;
  try {
    made = make();
  } catch (const IoError&) {  // on all ranks of the host
    failure = std::current_exception();
  }
  int rank = 0, size = 0;
  MPI_Comm_rank(communicator, &rank);
  MPI_Comm_size(communicator, &size);
  const int mine = failure ? rank : size;
  int first = size;
  check_mpi(MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, communicator), "MPI_Allreduce");
  if (failure) std::rethrow_exception(failure);
  if (first < size)
    throw IoError(fmt::format("rank {} could not share memory{} with the other ranks of its host", first,
                              directory.empty() ? "" : " in " + directory),
                  "see that host's /dev/shm, or use another window_directory", "comm");
  return made;
}

}  // namespace levin::detail
