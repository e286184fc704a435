#pragma once
#include <filesystem>

#include "levin/comm/communicator.h"
#include "levin/comm/topology.h"
#include "levin/trainer/data_module.h"

namespace levin {

/// Whether all hosts see what rank 0 writes to a directory. Collective; IoError where rank 0 cannot write there.
bool hosts_share(const std::filesystem::path& directory, const Topology& topology, Communicator& communicator);

/// prepare_data on the ranks that it is meant for; afterwards all are prepared. Collective.
void prepare_data(DataModule& data, const Topology& topology, Communicator& communicator);

}  // namespace levin
