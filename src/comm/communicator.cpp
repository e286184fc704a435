#include "levin/comm/communicator.h"

#include "hierarchical_communicator.h"
#include "intra_node_communicator.h"
#include "levin/comm/host_values.h"
#include "levin/comm/mpi_runtime.h"

namespace levin {

std::unique_ptr<Communicator> Communicator::create_cpu(const MpiRuntime& runtime, const CpuOptions& options) {
  auto group = on_all_ranks(runtime.communicator(), [&] { return NodeGroup::create(runtime.communicator(), options.window_directory); });
  if (group->size() != runtime.size())
    return std::make_unique<detail::HierarchicalCommunicator>(runtime.communicator(), std::move(group),
                                                              runtime.thread_level() == MPI_THREAD_MULTIPLE, options.direct_hosts);
  return std::make_unique<detail::IntraNodeCommunicator>(std::move(group));
}

std::unique_ptr<Communicator> Communicator::create_in_parts(const MpiRuntime& runtime, Communicator& whole, int part, int direct_hosts) {
  auto& host = *whole.node();
  auto group = on_all_ranks(runtime.communicator(), [&] { return host.split(part, host.rank()); });
  const int mine = group->size() < host.size() ? 1 : 0;
  int any = 0;
  check_mpi(MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, runtime.communicator()), "MPI_Allreduce");
  if (!any) return nullptr;
  return std::make_unique<detail::HierarchicalCommunicator>(runtime.communicator(), std::move(group),
                                                            runtime.thread_level() == MPI_THREAD_MULTIPLE, direct_hosts);
}

}  // namespace levin
