#pragma once
#include "levin/parallel/strategy.h"
#include "overlap.h"
#include "parked_parameters.h"
#include "unit_runner.h"
#include "unit_tree.h"

namespace levin {

struct Strategy::Making {
  explicit Making(MemoryMeter& meter) : pools(std::make_unique<BufferPools>(meter)) {}

  bool automatic = false;  // setup may take another form
  int64_t (*free_memory)() = nullptr;
  Ranks places;
  GroupRanks ranks;
  std::unique_ptr<Mesh> own_mesh;  // of a strategy that was given a communicator
  std::unique_ptr<BufferPools> pools;
  std::unique_ptr<detail::ParkedParameters> parked;  // while a model is built whose parameters are to be sharded
  detail::UnitTree tree;
  std::vector<size_t> unit_of_parameter;
  std::vector<std::string> parameter_names;
};

struct Strategy::Running {
  std::unique_ptr<detail::UnitRunners> runners;
  std::unique_ptr<detail::Overlap> overlap;  // where reductions start in a backward
};

}  // namespace levin
