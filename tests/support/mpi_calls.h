#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace levin::test {

/// Calls of MPI functions by this process so far, from wherever: the test program's own definitions come before the library's and count
/// before they pass a call on (MPI's profiling interface). Questions that MPI answers without looking at other ranks are not counted
/// (rank, size, whether it runs, its version).
uint64_t mpi_calls() noexcept;

/// Files that this process has opened by MPI_File_open so far, with the hints that came with them.
struct OpenedFile {
  std::string name;
  int mode = 0;
  std::map<std::string, std::string> hints;
};
std::vector<OpenedFile>& opened_files();

}  // namespace levin::test
