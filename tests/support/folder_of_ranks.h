#pragma once
// A folder for tests that have no communicator at hand.
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "levin_test.h"

namespace levin::test {

/// A new folder that all of the program's ranks know, and rank 0 makes and removes.
class FolderOfRanks {
 public:
  FolderOfRanks() {
    std::string name = (std::filesystem::temp_directory_path() / "levin_test.XXXXXX").string();
    if (runtime().rank() == 0) BOOST_REQUIRE(mkdtemp(name.data()));
    MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, runtime().communicator());
    path = name;
  }
  ~FolderOfRanks() {
    MPI_Barrier(runtime().communicator());
    std::error_code unseen;
    if (runtime().rank() == 0) std::filesystem::remove_all(path, unseen);
  }
  FolderOfRanks(const FolderOfRanks&) = delete;
  FolderOfRanks& operator=(const FolderOfRanks&) = delete;

  std::filesystem::path path;
};

}  // namespace levin::test
