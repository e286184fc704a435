#pragma once
// What the suites of this room have in common.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "levin/comm/communicator.h"
#include "levin/comm/topology.h"
#include "levin/device/accelerator.h"
#include "levin_test.h"

namespace levin::test {

/// A suite's fixture: without a GPU the program ends here, as skipped.
inline void needs_a_gpu() {
  if (std::filesystem::exists("/dev/nvidiactl")) return;
  std::puts("SKIPPED: needs a GPU");
  std::fflush(stdout);
  std::_Exit(77);
}

/// Whether every rank of this host can have a GPU of its own.
inline bool enough_gpus() { return AcceleratorRegistry().create("cuda")->device_count() >= runtime().size(); }

}  // namespace levin::test
