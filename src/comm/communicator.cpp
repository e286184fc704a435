#include "levin/comm/communicator.h"

#include "levin/comm/mpi_runtime.h"
#include "node_communicator.h"

namespace levin {

std::unique_ptr<Communicator> Communicator::create_cpu(const MpiRuntime& runtime, const std::string& window_directory) {
  auto group = NodeGroup::create(runtime.communicator(), window_directory);
  if (group->size() != runtime.size())
    throw CommunicatorError(
        fmt::format("{} ranks on several hosts, of which {} share memory with rank {}: several hosts are not supported yet", runtime.size(),
                    group->size(), runtime.rank()),
        "start all ranks on one host", ExitCode::bad_config);
  return std::make_unique<detail::NodeCommunicator>(std::move(group));
}

}  // namespace levin
