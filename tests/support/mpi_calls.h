#pragma once
#include <cstdint>

namespace levin::test {

/// Calls of MPI functions by this process so far, from wherever: the test program's own definitions come before the library's and count
/// before they pass a call on (MPI's profiling interface). Questions that MPI answers without looking at other ranks are not counted
/// (rank, size, whether it runs, its version).
uint64_t mpi_calls() noexcept;

}  // namespace levin::test
