#pragma once
// What the suites of this component share.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "levin/comm/communicator.h"
#include "levin/comm/topology.h"
#include "levin/device/accelerator.h"
#include "levin_test.h"

namespace levin::test {

/// A suite's fixture: without a GPU the program ends here, as skipped; else LibTorch knows of CUDA from here on.
inline void needs_a_gpu() {
  if (std::filesystem::exists("/dev/nvidiactl")) {
    AcceleratorRegistry().create("cuda");
    return;
  }
  std::puts("SKIPPED: needs a GPU");
  std::fflush(stdout);
  std::_Exit(77);
}

/// Whether every rank can have a GPU of its host to itself.
inline bool enough_gpus() {
  int enough = AcceleratorRegistry().create("cuda")->device_count() >= Topology::discover(runtime()).local_size();
  MPI_Allreduce(MPI_IN_PLACE, &enough, 1, MPI_INT, MPI_MIN, runtime().communicator());
  return enough != 0;
}

}  // namespace levin::test
